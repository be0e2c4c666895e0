"""Errors that a user can cure, and the one place where the command line tools catch them."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from traceback import walk_tb
from types import FrameType

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


class UserError(Exception):
    """Something the user can put right: a missing file, a misspelt key, an impossible option.

    The message names the thing and the remedy. Tools print it without a traceback and exit with
    ``exit_status``.
    """

    exit_status = 2


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
    """Return ``" Did you mean 'x'?"`` for the closest known word, or '' when none is close.

    Args:
        word: What the user wrote.
        known: The words that would have been right.
        cutoff: Least similarity in [0, 1] of a suggestion.
    """
    matches = get_close_matches(word, sorted(set(known)), n=1, cutoff=cutoff)
    return f' Did you mean {matches[0]!r}?' if matches else ''


def require_known(name: object, known: Iterable[str], where: str) -> None:
    """Check a name.

    Raises:
        UserError: If it is unknown; says where it was used and what there is.
    """
    known = list(known)
    if name not in known:
        words = f'{where} names {name!r}, which is unknown; there are {", ".join(known) or "none"}.'
        raise UserError(words + did_you_mean(str(name), known))


def run_tool(main: Callable[[], int | None]) -> int:
    """Run a tool's ``main``; turn a :class:`UserError` into one plain message and its exit status.

    Args:
        main: The tool; returns its exit status, None for 0.

    Returns:
        The exit status for :func:`sys.exit`. Errors of any other class pass through with their
        traceback.
    """
    try:
        return main() or 0
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return error.exit_status


@contextmanager
def user_errors() -> Iterator[None]:
    """Re-raise as :class:`UserError` what building from a misspelt config raises.

    An unknown argument is recognised by the TypeError of a constructor that a registry called, an
    unknown type by the registry's KeyError. Errors from anywhere else keep class and traceback.
    """
    try:
        yield
    except (TypeError, KeyError) as error:
        message = _explain(error, [frame for frame, _ in walk_tb(error.__traceback__)])
        if message is None:
            raise
        raise UserError(message) from error


def _explain(error: Exception, frames: list[FrameType]) -> str | None:
    """Return what is wrong with the config; None if the error is none of a registry's."""
    text = str(error.args[0]) if error.args else ''
    last = frames[-1].f_code.co_name
    builders = [frame for frame in frames if frame.f_code.co_name in _BUILDERS]
    if not builders:
        return None
    place = builders[-1].f_locals
    if isinstance(error, KeyError):
        match = re.match(r'(\S+) is not in the (\S+)( \w+)* registry', text)
        if match is None or last not in _BUILDERS:
            return None
        scope, _, name = match[1].rpartition('.')
        registry = place.get('registry')
        owner = getattr(registry, 'children', {}).get(scope, registry)
        hint = did_you_mean(name, getattr(owner, 'module_dict', {}))
        return f'config: type={match[1]!r} names nothing that is registered ({match[2]}).{hint}'
    match = re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", text)
    if match is None or last not in (*_BUILDERS, '__init__', '__new__', 'from_cfg'):
        return None
    built = place.get('obj_cls')
    load = getattr(built, 'load', None) if inspect.isfunction(built) else None
    built = built if load is None else load()  # it stands in for a class
    name = getattr(built, '__name__', match[1])
    known = _arguments(built)
    all_known = f' It takes {", ".join(sorted(known))}.' if known else ''
    hint = did_you_mean(match[2], known) or all_known
    return f'config: {name} has no argument {match[2]!r}.{hint}'


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
