"""How the tasks of a run share its steps: a table (stage -> steps per task) and the order of the steps inside a stage.

The ways of combining tasks (ERNIE 2.0, Table 7; "On Losses for Modern Language Models", section 3.3) differ in what
is trained at a step (``plan.py``) and in this table (``stage_tables.py``); so a trainer that follows a
:class:`Schedule` has no branch for any of them.
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

# Keeps the random stream of the schedule apart from those of the samples, which use the same seed.
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
    """Where one step of a run stands. All counts start at 0 and say how much lies *before* this step.

    Attributes:
        step: the step of the run.
        task: the task trained at this step.
        stage: number of the stage.
        stage_step: steps of this stage before this one, of any task.
        task_step: steps of this task before this one in the whole run and in those that it continues: the position in
            the task's data, and the position of a warm-up that begins when the task is introduced.
    """

    step: int
    task: str
    stage: int
    stage_step: int
    task_step: int


@dataclass(frozen=True)
class Schedule:
    """A table of stages and a seed. Everything else (which task at which step) is computed from these.

    Inside a stage every step draws its task in proportion to the steps that remain to it. That is the same as
    a uniform shuffle of the stage's multiset of tasks, which is how it is done: the allotments are used up
    exactly, and the order depends on (seed, stage) alone.

    Attributes:
        tasks: names of what is trained.
        stages: the table.
        seed: of the order inside the stages.
        in_turn: the tasks of a stage take turns in their order instead, until each has used up its steps.
        done: steps of each task in earlier runs that this one continues; empty for none.
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
            raise UserError(f"schedule: needs at least one task and every name once, found {list(self.tasks)}")
        if not self.stages:
            raise UserError("schedule: needs at least one stage")
        for number, stage in enumerate(self.stages):
            if len(stage.steps) != len(self.tasks) or min(stage.steps) < 0:
                raise UserError(
                    f"schedule: stage {number + 1} must have {len(self.tasks)} amounts of 0 or more: {stage.steps}"
                )
            if stage.total == 0:
                raise UserError(f"schedule: stage {number + 1} has no steps; remove it or give a task steps there")
        assert len(self.done) in (0, len(self.tasks))
        for index, task in enumerate(self.tasks):
            if not any(stage.steps[index] for stage in self.stages):
                raise UserError(f"schedule: task {task!r} has no steps in any stage; give it some or remove it")

    def __getstate__(self) -> dict[str, Any]:
        # The orders are a cache that a worker process computes again in milliseconds.
        return {**self.__dict__, "_orders": {}}

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return sum(stage.total for stage in self.stages)

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """Steps that are done when each stage ends."""
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
        """Where ``step`` (from 0) stands: its task, stage and counts. Costs the same at any step.

        Raises:
            IndexError: ``step`` is not in ``range(total_steps)``.
        """
        if not 0 <= step < self.total_steps:
            raise IndexError(f"step {step} is not among the {self.total_steps} steps of the schedule")
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
        """Steps of ``task`` among the first ``step`` steps (at most all) and before: its position in its data."""
        index = self._index(task)
        count = self._done(index)
        for number, stage in enumerate(self.stages):
            if step < stage.total:
                return count + int(np.count_nonzero(self._order(number)[0][: max(step, 0)] == index))
            step -= stage.total
            count += stage.steps[index]
        return count

    def table(self) -> list[dict[str, int]]:
        """The table as plain data: for each stage, the steps of the tasks that have some."""
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
        """For each step of a stage: its task's index, and how many steps of that task lie before it in the stage."""
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
