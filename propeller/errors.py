"""Errors about configurations and runs that a person can put right."""


class UserError(ValueError):
    """A setting or an argument is unusable; the message says what is wrong, where, and what to do."""
