"""The error that a user can cure."""

import re


class UserError(Exception):
    """Something the user can put right: a missing file, a misspelt key, an impossible option.

    The message names the thing and the remedy. Tools print it without a traceback and exit with
    ``exit_status``.
    """

    exit_status = 2

    def __str__(self) -> str:
        """Return the message, without the traceback that a data loader writes before it."""
        return re.sub(r'(?s)^Caught \w+ in DataLoader .*\n[\w.]+Error: ', '', super().__str__())
