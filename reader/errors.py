"""Errors about text, vocabularies and corpora that a person can put right."""


class DataError(ValueError):
    """A file or a text is unusable; the message says what is wrong, where, and what to do."""
