"""Pure functions that choose the rows of each batch, so that a resumed run needs no saved reader state.

The batches are the same for any number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reader.random import generator

_POOL_BATCHES = 16
_EPOCH_STREAM = 0xF17E
_SIMILAR = 0.9


def epoch_batches(lengths: NDArray[np.int32], batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Random batches of `batch_size` rows of similar length that use every row once; one batch may be smaller.

    Rows are shuffled, each pool of 16 batches is sorted by length, and the batches are shuffled. Sorting saves most of
    the padding, and the rows of a pool are still a random choice.
    """
    rng = generator(seed, _EPOCH_STREAM, epoch)
    rows = rng.permutation(len(lengths)).astype(np.int64)
    pool = batch_size * _POOL_BATCHES
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(rows), pool):
        part = rows[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """The number of batches of `epoch_batches`."""
    return math.ceil(rows / batch_size)


def evaluation_batches(
    lengths: NDArray[np.int32], batch_rows: int, rank: int = 0, world: int = 1
) -> Iterator[NDArray[np.int64]]:
    """Batches of all rows, the longest rows first; with several ranks, this rank's share of the batches.

    A batch ends after `batch_rows` rows, or before a row shorter than 0.9 times the longest row of the batch. So
    padding is at most a tenth of each batch, and about half of that over all batches.
    """
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    falling = -lengths[order].astype(np.float64)
    start = number = 0
    while start < len(order):
        similar = int(np.searchsorted(falling, _SIMILAR * falling[start], side="right"))
        end = min(start + batch_rows, similar)
        if number % world == rank:
            yield order[start:end]
        start, number = end, number + 1


def rank_share(rows: NDArray[np.int64], rank: int, world: int, micro_rows: int) -> list[NDArray[np.int64]]:
    """This rank's rows of a global batch, cut into micro-batches; every rank gets the same number of micro-batches.

    Micro-batches are empty where a rank has fewer rows than micro-batches.
    """
    mine = rows[rank::world]
    pieces = math.ceil(math.ceil(len(rows) / world) / micro_rows)
    return [part.astype(np.int64) for part in np.array_split(mine, pieces)]
