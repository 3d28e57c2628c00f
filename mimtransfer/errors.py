"""Errors that a user caused and can mend: one line, no traceback."""


class UserError(ValueError):
    """A mistake in a config, a file or the data. The message is one line: what is wrong, where, and how to mend it."""
