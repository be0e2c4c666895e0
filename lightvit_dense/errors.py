"""Errors that a user can cure, and the one place where the command line tools catch them."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


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
