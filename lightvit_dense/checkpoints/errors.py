"""The error of this package."""

from lightvit_dense.errors import UserError


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or does not fit; the message names file and remedy."""
