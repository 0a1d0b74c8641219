"""A dry run: a trial of two steps of every task, which reports time and memory before the run is started."""

from __future__ import annotations

import itertools
import resource
import sys
import time

from ernie_paddle.pretraining.batches.step_data import RunReader
from ernie_paddle.pretraining.run import Pretraining


def dry_run(training: Pretraining) -> list[str]:
    """Build everything, train two steps of every task, and report the time of the second step and the memory.

    Nothing is written.
    """
    lines = []
    for name in training.plan.trained:
        reader = RunReader(training.schedule, training.train_data, training.rank, training.world)
        start = (0, *training.schedule.stage_ends)[training.schedule.introduced_at(name)]
        step = next(step for step in itertools.count(start) if training.schedule.task_at(step) == name)
        given = training.step_input(step, reader(step))
        began = time.perf_counter()
        training.learner.train_step(name, given.micro_batches, given.lr)
        first = time.perf_counter() - began
        began = time.perf_counter()
        result = training.learner.train_step(name, given.micro_batches, given.lr)
        second = time.perf_counter() - began
        losses = " ".join(f"{term} {value:.3f}" for term, value in result.losses.items())
        tokens = given.units * training.world
        lines.append(
            f"task {name}: {len(given.micro_batches)} micro-batches, {tokens:,} tokens; first step {first:.2f} s "
            f"(including building the graph), second step {second:.2f} s, {tokens / second:,.0f} tok/s; {losses}"
        )
    count = sum(array.size for array in training.learner.parameters().values())
    lines.append(f"{count:,} parameters; peak memory: process {peak_memory_mib():,.0f} MiB{gpu_memory()}")
    return lines


def peak_memory_mib() -> float:
    """Peak resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def gpu_memory() -> str:
    """Peak memory reserved on the GPU so far, as text for a message; empty on a CPU."""
    import paddle

    if not paddle.device.is_compiled_with_cuda() or paddle.device.cuda.device_count() == 0:
        return ""
    return f", GPU {paddle.device.cuda.max_memory_reserved() / 2**20:,.0f} MiB"
