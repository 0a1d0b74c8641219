"""Running a model over a whole dataset: length-sorted batches, several ranks, outputs in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from ernie_paddle.finetune.task_type import Dataset, TaskType
from propeller.values import Arrays
from reader.batches.epochs import evaluation_batches
from reader.batches.rows import ranges

Infer = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""Maps the inputs of one batch to its outputs (first axis: rows)."""

_ROWS = "@rows"


def run_dataset(run: Infer, task: TaskType, data: Dataset, batch_rows: int, *, rank: int = 0, world: int = 1) -> Arrays:
    """Compute the model's outputs for every row of the data, each row once, for any number of ranks.

    Args:
        run: The model.
        task: The task, which makes the batches.
        data: Data with at least one row.
        batch_rows: Rows per batch.
        rank: Rank of this process; every process must call this function.
        world: Number of processes.

    Returns:
        Output arrays by name, rows in the order of the data, the same on all ranks. The task's `position_outputs`
        have the shape [sum of lengths, …], with the positions of all rows concatenated and without padding.
    """
    flat = task.position_outputs
    mine: list[tuple[NDArray[np.int64], Arrays]] = []
    for rows in evaluation_batches(data.lengths, batch_rows, rank, world):
        outputs = run(task.batch(data, rows, labelled=False))
        arrays = {name: np.asarray(array) for name, array in outputs.items()}
        mine.append((rows, {**arrays, **{name: _real(arrays[name], data.lengths[rows]) for name in flat}}))
    parts = [_joined(mine)] if mine else []
    if world > 1:
        from propeller.device import distributed

        messages = distributed.all_gather_bytes(save(parts[0]) if parts else b"")
        parts = [load(message) for message in messages if message]
    together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    back = np.argsort(together.pop(_ROWS), kind="stable")
    assert len(back) == len(data), f"{len(back)} answers for {len(data)} rows"
    lengths = data.lengths[np.argsort(back)].astype(np.int64)
    starts = (np.cumsum(lengths) - lengths)[back]
    positions = ranges(starts, lengths[back])
    return {name: array[positions if name in flat else back] for name, array in together.items()}


def _real(array: NDArray[Any], lengths: NDArray[np.int32]) -> NDArray[Any]:
    """Remove the padding: [B, T, …] -> [sum of lengths, …]."""
    found: NDArray[Any] = array[np.arange(array.shape[1]) < lengths[:, None]]
    return found


def _joined(batches: list[tuple[NDArray[np.int64], Arrays]]) -> Arrays:
    names = batches[0][1]
    joined: Arrays = {name: np.concatenate([outputs[name] for _, outputs in batches]) for name in names}
    return {_ROWS: np.concatenate([rows for rows, _ in batches]), **joined}
