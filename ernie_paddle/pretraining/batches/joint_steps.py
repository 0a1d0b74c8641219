"""Several sets of rows that make one step together: what tasks are fed that are summed but cannot share their rows.

Their arrays go by "<group>/<input>", so that one Program holds them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.batches.step_reader import StepBatch, StepReader
from propeller.graph.inputs import prefixed
from propeller.values import Arrays
from reader.report import SkipReport


@dataclass(frozen=True)
class JointStepData:
    """Settings that a :class:`JointStepReader` is opened from.

    Attributes:
        task: name of the whole.
        groups: settings of each set of rows, with its part of the step's tokens.
    """

    task: str
    groups: tuple[TaskData, ...]

    def open(self) -> JointStepReader:
        """The reader of these settings.

        Raises:
            DataError, UserError: a corpus or a setting is unusable.
        """
        return JointStepReader(self.task, [data.open() for data in self.groups])


class JointStepReader:
    """Makes the batches of several readers at once."""

    def __init__(self, task: str, groups: Sequence[StepReader]) -> None:
        self.task = task
        self.groups = list(groups)

    def step(self, number: int, rank: int = 0, world: int = 1) -> StepBatch:
        """What ``rank`` is fed at step ``number`` (from 0): the same step of every group, cut into equally many."""
        parts = max(group.micro_batches(number, world) for group in self.groups)
        batches = [group.step(number, rank, world, parts) for group in self.groups]
        skipped = SkipReport()
        for batch in batches:
            skipped.merge(batch.skipped)
        return StepBatch(
            number=number,
            task=self.task,
            micro_batches=[_joined(batches, part) for part in range(parts)],
            rows=sum(batch.rows for batch in batches),
            global_rows=sum(batch.global_rows for batch in batches),
            real_tokens=sum(batch.real_tokens for batch in batches),
            padded_tokens=sum(batch.padded_tokens for batch in batches),
            samples="; ".join(f"{batch.task}: {batch.samples}" for batch in batches if batch.samples),
            skipped=skipped,
        )


def _joined(batches: Sequence[StepBatch], part: int) -> Arrays:
    """One micro-batch of all groups."""
    return {prefixed(batch.task, name): array for batch in batches for name, array in batch.micro_batches[part].items()}
