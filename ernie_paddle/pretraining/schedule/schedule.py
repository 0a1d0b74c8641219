"""How the tasks of a run share its steps: a table (stage -> steps per task) and the order of the steps inside a stage.

The ways of combining tasks (ERNIE 2.0, Table 7; "On Losses for Modern Language Models", section 3.3) differ in what
is trained at a step (``plan.py``) and in this table (``stage_tables.py``), so a trainer that follows a
:class:`Schedule` needs no special case for any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propeller.errors import UserError
from propeller.settings import unknown_name
from reader.random import generator

# Keeps the random stream of the schedule separate from those of the samples, which use the same seed.
_STREAM = 0x5C8ED


@dataclass(frozen=True)
class Stage:
    """Steps of each task in one stage, in the order of the schedule's tasks (0 = not trained in this stage)."""

    steps: tuple[int, ...]

    @property
    def total(self) -> int:
        """Steps of the stage, all tasks together."""
        return sum(self.steps)


@dataclass(frozen=True)
class Place:
    """The position of one step in a run. All counts start at 0 and count the steps *before* this one.

    Attributes:
        step: The step of the run.
        task: The task trained at this step.
        stage: Number of the stage.
        stage_step: Steps of this stage before this one, of any task.
        task_step: Steps of this task before this one, in this run and those that it continues: the position in the
            task's data, and the position in a warm-up that begins when the task is introduced.
    """

    step: int
    task: str
    stage: int
    stage_step: int
    task_step: int


@dataclass(frozen=True)
class Schedule:
    """A table of stages and a seed, which determine the task of every step.

    Within a stage, every step draws its task with probability proportional to the task's remaining steps. This is
    equivalent to a uniform shuffle of the stage's multiset of tasks, which is how it is implemented: the steps of each
    task are used up exactly, and the order depends on (seed, stage) alone.

    Attributes:
        tasks: Names of the trained tasks and sums.
        stages: The table.
        seed: Seed of the order within the stages.
        in_turn: Whether the tasks of a stage take turns in order, instead of a shuffle, until their steps are used up.
        done: Steps of each task in earlier runs that this one continues; empty for none.
    """

    tasks: tuple[str, ...]
    stages: tuple[Stage, ...]
    seed: int = 0
    in_turn: bool = False
    done: tuple[int, ...] = ()
    _orders: dict[int, tuple[NDArray[np.int16], NDArray[np.int32]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise UserError(f"schedule: give at least one task, each only once; found {list(self.tasks)}")
        if not self.stages:
            raise UserError("schedule: give at least one stage")
        for number, stage in enumerate(self.stages):
            if len(stage.steps) != len(self.tasks) or min(stage.steps) < 0:
                raise UserError(
                    f"schedule: stage {number + 1} must have {len(self.tasks)} amounts of 0 or more: {stage.steps}"
                )
            if stage.total == 0:
                raise UserError(f"schedule: stage {number + 1} has no steps; remove it or give a task steps in it")
        assert len(self.done) in (0, len(self.tasks))
        for index, task in enumerate(self.tasks):
            if not any(stage.steps[index] for stage in self.stages):
                raise UserError(f"schedule: task {task!r} has no steps in any stage; give it steps or remove it")

    def __getstate__(self) -> dict[str, Any]:
        # The orders are a cache, which a worker process recomputes in milliseconds.
        return {**self.__dict__, "_orders": {}}

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return sum(stage.total for stage in self.stages)

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """Number of steps done at the end of each stage."""
        return tuple(accumulate(stage.total for stage in self.stages))

    def steps_of(self, task: str) -> int:
        """Steps of ``task`` in the whole run (those of earlier runs not counted)."""
        index = self._index(task)
        return sum(stage.steps[index] for stage in self.stages)

    def introduced_at(self, task: str) -> int:
        """Number of the first stage that trains ``task``."""
        index = self._index(task)
        return next(number for number, stage in enumerate(self.stages) if stage.steps[index])

    def at(self, step: int) -> Place:
        """The place of ``step`` (from 0): its task, stage and counts. The cost does not depend on the step.

        Raises:
            IndexError: ``step`` is not in ``range(total_steps)``.
        """
        if not 0 <= step < self.total_steps:
            raise IndexError(f"step {step} is outside the schedule's {self.total_steps} steps")
        starts = [0, *accumulate(stage.total for stage in self.stages)]
        stage = next(number for number in range(len(self.stages)) if step < starts[number + 1])
        order, counts = self._order(stage)
        offset = step - starts[stage]
        index, done = int(order[offset]), int(counts[offset])
        before = self._done(index) + sum(earlier.steps[index] for earlier in self.stages[:stage])
        return Place(step, self.tasks[index], stage, offset, before + done)

    def task_at(self, step: int) -> str:
        """The task trained at ``step`` (from 0)."""
        return self.at(step).task

    def count_before(self, step: int, task: str) -> int:
        """Steps of ``task`` among the first ``step`` steps and in earlier runs, which is the position in its data."""
        index = self._index(task)
        count = self._done(index)
        for number, stage in enumerate(self.stages):
            if step < stage.total:
                return count + int(np.count_nonzero(self._order(number)[0][: max(step, 0)] == index))
            step -= stage.total
            count += stage.steps[index]
        return count

    def table(self) -> list[dict[str, int]]:
        """The table as plain data: for each stage, the steps of the tasks trained in it."""
        return [
            {task: steps for task, steps in zip(self.tasks, stage.steps, strict=True) if steps} for stage in self.stages
        ]

    def _index(self, task: str) -> int:
        if task not in self.tasks:
            raise unknown_name("task", task, self.tasks, "schedule")
        return self.tasks.index(task)

    def _done(self, index: int) -> int:
        return self.done[index] if self.done else 0

    def _order(self, stage: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """For each step of a stage: its task's index, and how many steps of that task precede it in the stage."""
        if stage not in self._orders:
            steps = self.stages[stage].steps
            order = np.repeat(np.arange(len(steps), dtype=np.int16), steps)
            if self.in_turn:
                rounds = np.concatenate([np.arange(amount) for amount in steps])
                order = order[np.argsort(rounds, kind="stable")]
            else:
                order = generator(self.seed, _STREAM, stage).permutation(order)
            counts = np.empty(len(order), dtype=np.int32)
            for index, amount in enumerate(steps):
                counts[order == index] = np.arange(amount, dtype=np.int32)
            self._orders[stage] = (order, counts)
        return self._orders[stage]
