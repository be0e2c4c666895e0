"""The error of this package."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightvit_dense.errors import UserError


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or does not fit; the message names file and remedy."""


@contextmanager
def about(path: str) -> Iterator[None]:
    """Put the file before what is said of its content.

    Args:
        path: The file.

    Raises:
        CheckpointError: Instead of one that does not name the file.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}') from error
