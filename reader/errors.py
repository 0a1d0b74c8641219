"""Errors in texts, vocabularies and corpora that the user can correct."""


class DataError(ValueError):
    """A file or a text is unusable; the message says what is wrong, where, and what to do."""
