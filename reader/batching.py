"""To which length the rows of a batch are padded."""

from __future__ import annotations


def padded_length(longest: int, multiple: int = 1, limit: int | None = None) -> int:
    """The length T to pad a batch to: its longest row rounded up to `multiple` (8 suits GPUs), at most `limit`."""
    length = -(-longest // multiple) * multiple
    return length if limit is None else max(longest, min(length, limit))
