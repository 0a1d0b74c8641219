"""Data parallelism over the processes that a launcher started: roles, collectives in the graph, and a host store.

Gradients are summed inside the Program, between the backward pass and the update, over NCCL on GPUs and gloo on CPUs.
Fleet assigns the roles; its distributed optimizer cannot build PIR Programs (Paddle 3.3), so it is not used.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import numpy as np
import paddle

from propeller.device import static
from propeller.values import Value

BUCKET_ELEMENTS = 16 * 1024 * 1024
"""Largest number of float32 elements in one all-reduce: this makes few calls, but a bounded copy (64 MiB)."""

_STORE_PREFIX = "propeller"


class _Job:
    """The state of this process in its communication with the other ranks."""

    def __init__(self) -> None:
        self.store: paddle.base.core.TCPStore | None = None
        self.messages = 0


_job = _Job()


def rank() -> int:
    """Rank of this process, from 0."""
    return int(os.environ.get("PADDLE_TRAINER_ID", "0"))


def world_size() -> int:
    """Number of ranks."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def init() -> None:
    """Join the other ranks, if there are any and this has not been done yet. A Learner calls this function itself.

    Raises:
        UserError: Paddle is too old, or its PIR is switched off.
    """
    static.enable()
    if world_size() == 1 or _job.store is not None:
        return
    from paddle.base import core
    from paddle.distributed import collective, fleet

    if static.on_gpu():
        paddle.set_device(f"gpu:{static.place().get_device_id()}")
    fleet.init(is_collective=True)
    _job.store = core.create_or_get_global_tcp_store()
    if static.on_gpu():
        collective._init_parallel_env("nccl")
    else:
        # The function above asks for the number of a device, which a CPU worker does not have.
        core.CommContextManager.create_gloo_comm_context(_job.store, "0", rank(), world_size())


def all_gather_bytes(data: bytes) -> list[bytes]:
    """The messages of all ranks, in order of rank. Every rank must call this function, which waits for all ranks.

    The messages stay in the memory of rank 0 until the second call after this one.
    """
    if world_size() == 1:
        return [data]
    assert _job.store is not None, "distributed.init() comes first"
    _job.messages += 1
    # All ranks have sent the last message, so all have read the one before it, which is overwritten here, since the
    # store cannot delete. This comes before the reads below, as rank 0 may end after the last read, and the store with
    # it.
    if _job.messages > 2:
        _job.store.set(_key(_job.messages - 2, rank()), b".")
    # The store does not distinguish an empty value from a missing one: a byte in front makes every message non-empty.
    _job.store.set(_key(_job.messages, rank()), b"." + data)
    return [bytes(_job.store.get(_key(_job.messages, other)))[1:] for other in range(world_size())]


def _key(message: int, sender: int) -> str:
    return f"{_STORE_PREFIX}/{message}/{sender}"


def barrier() -> None:
    """Wait until all ranks have called this function."""
    all_gather_bytes(b"")


def sum_in_graph(values: Sequence[Value]) -> list[Value]:
    """Sums over all ranks of float32 variables of the Program being built (the same ones, in order, on each rank).

    The variables are joined into few buckets, since each collective costs far more than its bytes.
    """
    if world_size() == 1:
        return list(values)
    sums: list[Value] = []
    for bucket in _buckets([int(np.prod(value.shape)) for value in values]):
        members = [values[index] for index in bucket]
        flat = paddle.concat([value.reshape([-1]) for value in members])
        paddle.distributed.all_reduce(flat)
        parts = paddle.split(flat, [int(np.prod(value.shape)) for value in members])
        sums += [part.reshape(value.shape) for part, value in zip(parts, members, strict=True)]
    return sums


def _buckets(sizes: Sequence[int]) -> list[range]:
    """Cut indices 0..n into runs of at most BUCKET_ELEMENTS elements (a larger variable is a run of its own)."""
    runs: list[range] = []
    start = held = 0
    for index, size in enumerate(sizes):
        if index > start and held + size > BUCKET_ELEMENTS:
            runs.append(range(start, index))
            start, held = index, 0
        held += size
    if start < len(sizes):
        runs.append(range(start, len(sizes)))
    return runs


def sum_over_ranks(values: np.ndarray) -> np.ndarray:
    """Element-wise sum over all ranks of a float64 vector of the same length on each; every rank must call this."""
    vector = np.ascontiguousarray(values, dtype=np.float64)
    assert vector.ndim == 1
    if world_size() == 1:
        return vector
    program, output, executor = _sum_program()
    return np.asarray(executor.run(program, feed={"values": vector}, fetch_list=[output])[0])


@functools.cache
def _sum_program() -> tuple[paddle.static.Program, Value, paddle.static.Executor]:
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()), paddle.utils.unique_name.guard():
        # A copy, since the collective works in place and must not write into the fed array.
        values = paddle.assign(paddle.static.data("values", [-1], "float64"))
        paddle.distributed.all_reduce(values)
    return program, values, paddle.static.Executor(static.place())
