"""Steps made of several sets of rows, for tasks whose losses are summed but that cannot share rows.

The arrays of a set of rows are named "<group>/<input>", so that one Program takes the arrays of all sets.
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
    """The settings from which a :class:`JointStepReader` is opened.

    Attributes:
        task: Name of the sum of tasks.
        groups: Settings of each set of rows, with its share of the step's tokens.
    """

    task: str
    groups: tuple[TaskData, ...]

    def open(self) -> JointStepReader:
        """Open the reader of these settings.

        Raises:
            DataError, UserError: A corpus or a setting is unusable.
        """
        return JointStepReader(self.task, [data.open() for data in self.groups])


class JointStepReader:
    """Makes the batches of several readers at once."""

    def __init__(self, task: str, groups: Sequence[StepReader]) -> None:
        self.task = task
        self.groups = list(groups)

    def step(self, number: int, rank: int = 0, world: int = 1) -> StepBatch:
        """The batch of ``rank`` at step ``number`` (from 0): the step of every group, in equally many micro-batches."""
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
    """Join one micro-batch of every group."""
    return {prefixed(batch.task, name): array for batch in batches for name, array in batch.micro_batches[part].items()}
