"""Rows of different lengths made into one padded array, and the account of what padding costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def padded_length(longest: int, multiple: int = 1, limit: int | None = None) -> int:
    """The length T to pad a batch to: its longest row rounded up to `multiple` (8 suits GPUs), at most `limit`."""
    length = -(-longest // multiple) * multiple
    return length if limit is None else max(longest, min(length, limit))


def stack(
    rows: Sequence[NDArray[Any]],
    pad: float,
    dtype: DTypeLike = np.int64,
    length: int | None = None,
    start: int = 0,
) -> NDArray[Any]:
    """Rows (1-D, of any lengths) as one array [B, T], filled up with `pad`.

    T is `length`, else what the longest row needs. Rows begin in column `start`: 1 leaves room for [CLS].
    """
    longest = max(map(len, rows), default=0) + start
    length = longest if length is None else length
    assert longest <= length, f"a row of {longest} does not fit into {length}"
    batch = np.full((len(rows), length), pad, dtype=dtype)
    for i, row in enumerate(rows):
        batch[i, start : start + len(row)] = row
    return batch


def flat_positions(rows: Sequence[NDArray[Any]], length: int) -> NDArray[np.int64]:
    """Positions t within rows of a batch [B, T = length], as int64 positions b * T + t in the flattened batch."""
    if not rows:
        return np.zeros(0, dtype=np.int64)
    starts = np.repeat(np.arange(len(rows)) * length, [len(row) for row in rows])
    positions: NDArray[np.int64] = starts + np.concatenate(rows).astype(np.int64)
    return positions


@dataclass
class PaddingCount:
    """How many slots of the batches so far held real symbols."""

    real: int = 0
    slots: int = 0

    def add(self, real: int, slots: int) -> None:
        """Count one batch with `real` symbols (special ones included) in `slots` = B * T places."""
        self.real += real
        self.slots += slots

    @property
    def ratio(self) -> float:
        """The share of padding, 0 before the first batch."""
        return 1.0 - self.real / self.slots if self.slots else 0.0
