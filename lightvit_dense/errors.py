"""Errors that a plain message answers."""


class UserError(Exception):
    """A mistake of the user's that a plain message answers."""
