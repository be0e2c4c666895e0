r"""mmengine pastes environment variables into the source text of a config.

Symptom: with ``LIGHTVIT_DATA="/it's/data"`` every config is a SyntaxError, a backslash is taken for
an escape, and ``~/data`` is looked for in the current folder.

Cure: expand the value, and write it as the string literal around it wants it.
"""

import os
import re

from mmengine.config import Config

_PLACE = re.compile(r"""\{\{(['"]?)\s*\$(\w+)\s*:\s*(\S*?)\s*['"]?\}\}""")
_ESCAPES = {char: f'\\x{ord(char):02x}' for char in '\\\'"{}\n\r'}


def read_variable(name: str) -> str | None:
    """Return an environment variable, '~' expanded; None if it is not set, or empty."""
    value = os.environ.get(name)
    return os.path.expanduser(value) if value else None


def _substitute(filename: str, temp_config_name: str) -> dict[str, str]:
    """Substitute ``{{$NAME:default}}`` in strings, and ``{{'$NAME:default'}}`` outside of them."""
    found: dict[str, str] = {}

    def fill(match: re.Match[str]) -> str:
        quote, name, default = match.groups()
        value = read_variable(name)
        if value is None:
            if not default:
                raise KeyError(f'the environment variable {name} is not set, and has no default')
            return default
        found[name] = value
        return value if quote else ''.join(_ESCAPES.get(char, char) for char in value)

    with open(filename, encoding='utf-8') as file:
        text = _PLACE.sub(fill, file.read())
    with open(temp_config_name, 'w', encoding='utf-8') as file:
        file.write(text)
    return found


def install() -> None:
    """Make ``Config.fromfile`` quote environment variables; may be called repeatedly."""
    Config._substitute_env_variables = staticmethod(_substitute)
