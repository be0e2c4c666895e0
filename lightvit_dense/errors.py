"""Errors that a user can cure, and the one place where the command line tools catch them."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any, NoReturn

from lightvit_dense_runtime.errors import UserError

_BUILDERS = (
    'build_from_cfg',
    'build_runner_from_cfg',
    'build_train_loop',
    'build_val_loop',
    'build_test_loop',
    'build_dataloader',
    'set_randomness',
)
"""Functions of mmengine that call constructors with what a config says."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or does not fit; the message names file and remedy."""


@contextmanager
def about_file(path: str) -> Iterator[None]:
    """Put the file in front of a :class:`CheckpointError` that does not name it."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}') from error


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or '' when none is close."""
    matches = get_close_matches(word, sorted(set(known)), n=1, cutoff=cutoff)
    return f' Did you mean {matches[0]!r}?' if matches else ''


def require_known(name: object, known: Iterable[str], where: str) -> None:
    """Raise a :class:`UserError` that says where an unknown name was used and what there is."""
    known = list(known)
    if name not in known:
        words = f'{where} names {name!r}, which is unknown; there are {", ".join(known) or "none"}.'
        raise UserError(words + did_you_mean(str(name), known))


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a tool's ``main`` and exit with its status; a :class:`UserError` becomes one message."""
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(error.exit_status)


@contextmanager
def user_errors(config: Any = None) -> Iterator[None]:
    """Re-raise as :class:`UserError` what building from a wrong config raises.

    Such are all errors that were raised below a registry's call of a constructor: an unknown type
    or argument, a value that the constructor refuses. Errors from anywhere else keep class and
    traceback. With the ``config`` that is built the message names the key of what failed.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        message = _explain(error, [frame for frame, _ in walk_tb(error.__traceback__)], config)
        if message is None:
            raise
        raise UserError(message) from error


def _explain(error: Exception, frames: list[FrameType], config: Any) -> str | None:
    """Return what is wrong with the config; None if the error is none of a registry's."""
    text = str(error.args[0]) if error.args else ''
    last = frames[-1].f_code.co_name
    builders = [frame for frame in frames if frame.f_code.co_name in _BUILDERS]
    if not builders:
        return None
    where = _locate(builders, config)
    place = builders[-1].f_locals
    match = re.match(r'(\S+) is not in the (\S+)( \w+)* registry', text)
    if isinstance(error, KeyError) and match is not None and last in _BUILDERS:
        scope, _, name = match[1].rpartition('.')
        registry = place.get('registry')
        owner = getattr(registry, 'children', {}).get(scope, registry)
        hint = did_you_mean(name, getattr(owner, 'module_dict', {}))
        return f'{where}: type={match[1]!r} names nothing that is registered ({match[2]}).{hint}'
    if isinstance(error, KeyError) and 'must contain the key "type"' in text:
        return f"{where}: has no 'type', which would name what is built: {place.get('cfg')}"
    built = place.get('obj_cls')
    load = getattr(built, 'load', None) if inspect.isfunction(built) else None
    built = built if load is None else load()  # it stands in for a class
    name = getattr(built, '__name__', '')
    match = re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", text)
    if match is not None and last in (*_BUILDERS, '__init__', '__new__', 'from_cfg'):
        known = sorted(_arguments(built))
        hint = did_you_mean(match[2], known) or (f' It has {", ".join(known)}.' if known else '')
        return f'{where}: {name or match[1]} has no argument {match[2]!r}.{hint}'
    code, line = frames[-1].f_code, list(walk_tb(error.__traceback__))[-1][1]
    origin = f'{type(error).__name__} in {Path(code.co_filename).name}, line {line}'
    owner = f'{name}: ' if name and not text.startswith(name) else ''
    return f'{where}: {owner}{str(error).strip() or "it cannot be built"} ({origin})'


def _locate(builders: list[FrameType], config: Any) -> str:
    """Return which key of the config the innermost of some calls of a registry builds."""
    place, config = '', getattr(config, '_cfg_dict', config)
    for frame in builders:
        local = frame.f_locals
        node = local.get('cfg', local.get('dataloader', local.get('loop')))
        likely = [(_likeness(node, found), key) for key, found in _walk(config)]
        # What a constructor builds stands below it, other sections elsewhere.
        ranked = [(key.startswith(place), score, key) for score, key in likely if score]
        place = max(ranked, key=lambda rank: rank[:2])[2] if ranked else place
    return f'config key {place}' if place else 'config'


def _walk(node: Any, place: str = '') -> Iterator[tuple[str, Any]]:
    """Walk over a config, with dotted keys."""
    if place:
        yield place, node
    items = enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in node.items() if isinstance(node, Mapping) else items:
        yield from _walk(value, f'{place}.{key}' if place else str(key))


def _likeness(node: Any, other: Any) -> int:
    """Return how much two parts of a config have in common; 0 if they are not the same one."""
    if not isinstance(node, Mapping) or not isinstance(other, Mapping):
        return int(isinstance(node, str) and node == other)
    if node.get('type') != other.get('type'):
        return 0
    return ('type' in node) + sum(other.get(key, ...) == value for key, value in node.items())


def _arguments(built: object) -> set[str]:
    """Return the arguments of a class, and those of its parents where it passes them on."""
    names: set[str] = set()
    for cls in inspect.getmro(built) if inspect.isclass(built) else ():
        if '__init__' not in vars(cls):
            continue
        try:
            parameters = inspect.signature(cls).parameters
        except (TypeError, ValueError):
            continue
        names |= set(parameters)
        if all(one.kind is not one.VAR_KEYWORD for one in parameters.values()):
            break
    return names - {'self', 'args', 'kwargs'}
