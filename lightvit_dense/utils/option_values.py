"""``--cfg-options``: values are Python's literals and ``dict(...)``, anything else is a string.

Strings in brackets need no quotes unless they hold a comma: ``[/a b, c]``, ``dict(type=X, n=1)``.
Without brackets ``1,2`` and ``bbox,segm`` are lists, as OpenMMLab has it; ``/a,b`` is a path.
"""

import argparse
import ast
import math
import re
from typing import Any

_WORDS = {'true': True, 'false': False, 'inf': math.inf, '-inf': -math.inf, 'nan': math.nan}
_CLOSING = {'(': ')', '[': ']', '{': '}'}
_QUOTE_IT = 'quote strings that hold brackets or quotes, KEY="\'...\'"'


class OptionsAction(argparse.Action):
    """Collects ``KEY=VALUE`` words in a dict; the last value of a key counts."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Add the words of one option."""
        try:
            found = dict(map(parse_option, values))
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from error
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), **found})


def parse_option(word: str) -> tuple[str, Any]:
    """Split ``KEY=VALUE`` and parse the value; ValueError if it is malformed."""
    key, equals, value = word.partition('=')
    if not equals or not key.strip():
        raise ValueError(f'{word!r} is not KEY=VALUE (without blanks around "=")')
    try:
        return key.strip(), parse_value(value)
    except ValueError as error:
        raise ValueError(f'{word}: {error}; {_QUOTE_IT}') from error


def format_option(key: str, value: Any) -> str:
    """Return ``KEY=VALUE`` that :func:`parse_option` reads as that value."""
    try:
        plain = isinstance(value, str) and parse_value(value) == value
    except ValueError:
        plain = False
    return f'{key}={value}' if plain else f'{key}={value!r}'


def parse_value(text: str) -> Any:
    """Parse a value as the module's docstring says."""
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _parse_loosely(text)
    if isinstance(value, tuple) and _parts(text) is None:
        return list(value)
    plain = (str, int, float, list, tuple, dict, type(None))
    return value if isinstance(value, plain) else text


def _parse_loosely(text: str) -> Any:
    """Parse containers with unquoted strings, else return a string."""
    is_dict = text.startswith('dict(')
    parts = _parts(text.removeprefix('dict') if is_dict else text)
    if parts is None:
        if text[:1] in ('"', "'") and text.count(text[0]) == 1:
            raise ValueError(f'the {text[0]} is not closed')
        if is_dict:
            raise ValueError('text after the dict')
        words = re.fullmatch(r'[\w+-]+(\s*,\s*[\w+-]+)+', text)
        return [parse_value(part) for part in text.split(',')] if words else text
    if is_dict or text[0] == '{':
        pairs = [part.partition('=' if is_dict else ':') for part in parts]
        if not all(sign and key.strip() for key, sign, _ in pairs):
            raise ValueError('an entry of the dict is not KEY=VALUE')
        return {key.strip(' \'"'): parse_value(value) for key, _, value in pairs}
    values = [parse_value(part) for part in parts]
    if text[0] == '[':
        return values
    return tuple(values) if len(values) > 1 else text  # '(old)' may be a folder


def _parts(text: str) -> list[str] | None:
    """Split the content of brackets at its commas; None if they do not enclose the whole text."""
    if text[:1] not in _CLOSING:
        return None
    closing, quote, start, parts = [], '', 1, []
    for place, char in enumerate(text):
        if quote or char in '"\'':
            quote = '' if char == quote else quote or char
        elif char in _CLOSING:
            closing.append(_CLOSING[char])
        elif char in ')]}':
            if closing.pop() != char:
                raise ValueError(f'the brackets do not match at {text[place:]!r}')
            if not closing and place < len(text) - 1:
                return None
        elif char == ',' and len(closing) == 1:
            parts.append(text[start:place])
            start = place + 1
    if closing or quote:
        raise ValueError(f'missing {quote or closing[-1]} at the end')
    parts.append(text[start:-1])
    return parts if parts[-1].strip() else parts[:-1]
