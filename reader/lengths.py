"""The lengths to which texts are truncated and the rows of a batch are padded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def padded_length(longest: int, multiple: int = 1, limit: int | None = None) -> int:
    """The length T to pad a batch to: its longest row rounded up to `multiple` (8 suits GPUs), at most `limit`."""
    length = -(-longest // multiple) * multiple
    return length if limit is None else max(longest, min(length, limit))


def truncate_pair(a: NDArray[np.int64], b: NDArray[np.int64], room: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths of both texts after truncation: the longer text (B at a tie) loses one token at a time until both fit.

    Args:
        a: lengths of the first texts, [R].
        b: lengths of the second texts, [R].
        room: largest sum of the two lengths.
    """
    kept_a = np.minimum(a, np.maximum((room + 1) // 2, room - b))
    return kept_a, np.minimum(b, room - kept_a)
