"""Errors in configurations and runs that the user can correct."""


class UserError(ValueError):
    """A setting or an argument is unusable; the message says what is wrong, where, and what to do."""


def one_line(error: BaseException) -> str:
    """The message of an error on a single line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
