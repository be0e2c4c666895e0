"""What goes wrong with data, told in plain words."""

from lightvit_dense.errors import UserError


class DatasetError(UserError):
    """Data that cannot be used; the message names the file and the remedy."""
