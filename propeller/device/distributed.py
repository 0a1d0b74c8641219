"""Data parallelism over the processes that a launcher started: roles, collectives in the graph, and a host store.

Gradients are summed inside the Program, between the backward pass and the update, over NCCL on GPUs and gloo on CPUs.
Fleet gives the roles; its own distributed optimizer cannot build PIR Programs (Paddle 3.3), so it is not used.
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
"""Most float32 elements that one all-reduce joins: few calls, yet a bounded copy (64 MiB)."""

_STORE_PREFIX = "propeller"


class _Job:
    """What this process knows of the others; one for each process."""

    def __init__(self) -> None:
        self.store: paddle.base.core.TCPStore | None = None
        self.messages = 0


_job = _Job()


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("PADDLE_TRAINER_ID", "0"))


def world_size() -> int:
    """Number of processes."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def init() -> None:
    """Join the other processes (once; nothing to do for a single one). A Learner calls it by itself.

    Raises:
        UserError: Paddle is too old, or its PIR is off.
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
        # Not by the same function: it asks for the number of a device, which a CPU worker does not have.
        core.CommContextManager.create_gloo_comm_context(_job.store, "0", rank(), world_size())


def all_gather_bytes(data: bytes) -> list[bytes]:
    """Messages of all ranks, in order of rank. Every rank must call it; it waits for all.

    They lie in the memory of rank 0 until the second call after this one.
    """
    if world_size() == 1:
        return [data]
    assert _job.store is not None, "distributed.init() comes first"
    _job.messages += 1
    # All ranks have sent the last message, so all have read the one before it. The store cannot delete, but write anew;
    # and not after the messages are read, since rank 0 may end with the last of them, and the store with it.
    if _job.messages > 2:
        _job.store.set(_key(_job.messages - 2, rank()), b".")
    # The store does not tell an empty value from none yet: one byte in front makes every message non-empty.
    _job.store.set(_key(_job.messages, rank()), b"." + data)
    return [bytes(_job.store.get(_key(_job.messages, other)))[1:] for other in range(world_size())]


def _key(message: int, sender: int) -> str:
    return f"{_STORE_PREFIX}/{message}/{sender}"


def barrier() -> None:
    """Return when all processes have come here."""
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
    """Cut indices 0..n into runs of at most BUCKET_ELEMENTS elements (one that is larger stands alone)."""
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
    """Element-wise sum over all ranks of a float64 vector (of the same length on each). Every rank must call it."""
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
        # A copy: the collective works in place, and must not write into what was fed.
        values = paddle.assign(paddle.static.data("values", [-1], "float64"))
        paddle.distributed.all_reduce(values)
    return program, values, paddle.static.Executor(static.place())
