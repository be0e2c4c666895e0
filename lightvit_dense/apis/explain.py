"""Turn errors that misspelt configs cause deep inside the registries into plain messages."""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from types import FrameType

from lightvit_dense.errors import UserError, did_you_mean

BUILDERS = (
    'build_from_cfg',
    'build_runner_from_cfg',
    'build_train_loop',
    'build_val_loop',
    'build_test_loop',
    'build_dataloader',
    'set_randomness',
)


@contextmanager
def user_errors() -> Iterator[None]:
    """Re-raise as :class:`UserError` what building from a misspelt config raises.

    An unknown argument is recognised by the TypeError that a constructor, called by a registry,
    raises for it; an unknown type by the registry's KeyError. Errors from anywhere else pass
    through with their traceback.
    """
    try:
        yield
    except (TypeError, KeyError) as error:
        frames = [frame for frame, _ in walk_tb(error.__traceback__)]
        message = _explain(error, frames)
        if message is None:
            raise
        raise UserError(message) from error


def _explain(error: Exception, frames: list[FrameType]) -> str | None:
    text = str(error.args[0]) if error.args else ''
    last = frames[-1].f_code.co_name
    builders = [frame for frame in frames if frame.f_code.co_name in BUILDERS]
    if not builders:
        return None
    if isinstance(error, KeyError):
        return _explain_type(text, builders[-1]) if last in BUILDERS else None
    match = re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", text)
    if match is None or last not in (*BUILDERS, '__init__', '__new__', 'from_cfg'):
        return None
    built = builders[-1].f_locals.get('obj_cls')
    if inspect.isfunction(built) and isinstance(builders[-1].f_locals['obj_type'], str):
        # The function has imported a class that now has its place.
        place = builders[-1].f_locals
        built = place['registry'].get(place['obj_type'])
    name = getattr(built, '__name__', match[1])
    return (
        f'config: {name} has no argument {match[2]!r}.{did_you_mean(match[2], _arguments(built))}'
    )


def _explain_type(text: str, frame: FrameType) -> str | None:
    match = re.match(r'(\S+) is not in the (\S+)( \w+)* registry', text)
    if match is None:
        return None
    scope = match[1].rpartition('.')[0]
    registry = frame.f_locals.get('registry')
    names = set(getattr(registry, '_module_dict', {}))
    child = getattr(registry, 'children', {}).get(scope)
    names = set(getattr(child, '_module_dict', {})) if child is not None else names
    hint = did_you_mean(match[1].rpartition('.')[2], names)
    return f'config: type={match[1]!r} names nothing that is registered ({match[2]}).{hint}'


def _arguments(built: object) -> set[str]:
    """Names of the arguments of a class, its parents' included."""
    names: set[str] = set()
    for cls in inspect.getmro(built) if inspect.isclass(built) else ():
        try:
            names |= set(inspect.signature(cls).parameters)
        except (TypeError, ValueError):
            continue
    return names - {'self', 'args', 'kwargs'}
