"""How the tasks of a run share its steps: a table (stage -> steps per task) and the order of the steps inside a stage.

Continual multi-task learning (ERNIE 2.0, "Continual Multi-task Learning"; "On Losses for Modern Language Models",
appendix A), multi-task learning from scratch and sequential learning (ERNIE 2.0, Table 7) are three ways to
write such a table, so a trainer that follows a :class:`Schedule` has no branch for any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propeller.errors import UserError
from propeller.settings import unknown_name
from reader.random import generator

Steps = int | Mapping[str, int]
"""A number of steps for every task alike, or one for each task."""

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
        task_step: steps of this task before this one in the whole run: the position in the task's data, and the
            position of a warm-up that begins when the task is introduced.
        task_stage_step: steps of this task before this one in this stage: the position of a warm-up that begins
            again at every stage.
    """

    step: int
    task: str
    stage: int
    stage_step: int
    task_step: int
    task_stage_step: int


@dataclass(frozen=True)
class Schedule:
    """A table of stages and a seed. Everything else (which task at which step) is computed from these.

    Inside a stage every step draws its task in proportion to the steps that remain to it. That is the same as
    a uniform shuffle of the stage's multiset of tasks, which is how it is done: the allotments are used up
    exactly, and the order depends on (seed, stage) alone.
    """

    tasks: tuple[str, ...]
    stages: tuple[Stage, ...]
    seed: int = 0
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

    def steps_of(self, task: str) -> int:
        """Steps of ``task`` in the whole run."""
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
        before = sum(earlier.steps[index] for earlier in self.stages[:stage])
        return Place(step, self.tasks[index], stage, offset, before + done, done)

    def task_at(self, step: int) -> str:
        """The task trained at ``step`` (from 0)."""
        return self.at(step).task

    def count_before(self, step: int, task: str) -> int:
        """Steps of ``task`` among the first ``step`` steps (at most all): its position in its data."""
        index = self._index(task)
        count = 0
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

    def _order(self, stage: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """For each step of a stage: its task's index, and how many steps of that task lie before it in the stage."""
        if stage not in self._orders:
            steps = self.stages[stage].steps
            order = np.repeat(np.arange(len(steps), dtype=np.int16), steps)
            order = generator(self.seed, _STREAM, stage).permutation(order)
            counts = np.empty(len(order), dtype=np.int32)
            for index, amount in enumerate(steps):
                counts[order == index] = np.arange(amount, dtype=np.int32)
            self._orders[stage] = (order, counts)
        return self._orders[stage]


def cmtl_fractions(n_tasks: int) -> list[list[Fraction]]:
    """Share of its own total that each task gets in each stage: ``[task][stage]``, every row sums to 1.

    The i-th task (from 1) enters at stage i with (i+1)/(N+1) of its total and gets 1/(N+1) in every later stage
    ("On Losses", appendix A; ERNIE 2.0, Table 7).
    """
    return [
        [Fraction(0 if s < i else (i + 1 if s == i else 1), n_tasks + 1) for s in range(1, n_tasks + 1)]
        for i in range(1, n_tasks + 1)
    ]


def round_shares(total: int, shares: Sequence[Fraction]) -> list[int]:
    """Whole numbers that sum to ``total`` and lie within 1 of ``total * shares`` (which sum to 1).

    Largest remainder: everybody gets the whole part, and what is left goes, one each, to the largest
    fractional parts (at a tie to the earlier one). A share of 0 stays 0.
    """
    assert sum(shares) == 1
    assert total >= 0
    exact = [total * share for share in shares]
    whole = [int(amount) for amount in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def cmtl(
    tasks: Sequence[str], *, steps_per_task: Steps | None = None, total_steps: int | None = None, seed: int = 0
) -> Schedule:
    """Continual multi-task learning: one more task in every stage, the earlier ones kept in training.

    Amounts that are not whole numbers are rounded by :func:`round_shares` so that every task keeps its total.

    Args:
        tasks: names, in the order in which they are introduced.
        steps_per_task: N of the paper: steps of each task over the whole run, or one number per task.
        total_steps: instead of it, the steps of the run, shared equally.
        seed: fixes the order of the steps inside the stages.

    Raises:
        UserError: neither or both amounts, a task without steps, an unknown task in ``steps_per_task``.
    """
    totals = _totals(tasks, steps_per_task, total_steps)
    rows = [round_shares(total, shares) for total, shares in zip(totals, cmtl_fractions(len(tasks)), strict=True)]
    return Schedule(tuple(tasks), tuple(Stage(tuple(column)) for column in zip(*rows, strict=True)), seed)


def multi_task(
    tasks: Sequence[str], *, steps_per_task: Steps | None = None, total_steps: int | None = None, seed: int = 0
) -> Schedule:
    """Multi-task learning from scratch (ERNIE 2.0, Table 7): all tasks in one stage; arguments as in :func:`cmtl`."""
    return Schedule(tuple(tasks), (Stage(tuple(_totals(tasks, steps_per_task, total_steps))),), seed)


def sequential(
    tasks: Sequence[str], *, steps_per_task: Steps | None = None, total_steps: int | None = None, seed: int = 0
) -> Schedule:
    """Traditional continual learning (ERNIE 2.0, Table 7): one task after the other; arguments as in :func:`cmtl`."""
    totals = _totals(tasks, steps_per_task, total_steps)
    stages = (Stage(tuple(total * (i == s) for i, total in enumerate(totals))) for s in range(len(totals)))
    return Schedule(tuple(tasks), tuple(stages), seed)


def from_table(
    tasks: Sequence[str], stages: Sequence[Mapping[str, int]], *, steps_per_task: Steps | None = None, seed: int = 0
) -> Schedule:
    """A table written by hand: for each stage the steps of its tasks.

    Args:
        tasks: all tasks of the run.
        stages: one mapping per stage; a task that is left out has no steps there.
        steps_per_task: if given, the totals that the table must add up to.
        seed: fixes the order of the steps inside the stages.

    Raises:
        UserError: a task that is not among ``tasks``, an amount that is no whole number of 0 or more, a stage or
            a task without steps, a table that does not add up.
    """
    rows = []
    for number, stage in enumerate(stages, 1):
        for task, amount in stage.items():
            if task not in tasks:
                raise unknown_name("task", task, tasks, f"schedule, stage {number}")
            if isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
                raise UserError(f"schedule, stage {number}: {task} must have 0 or more whole steps, found {amount!r}")
        rows.append(Stage(tuple(stage.get(task, 0) for task in tasks)))
    schedule = Schedule(tuple(tasks), tuple(rows), seed)
    if steps_per_task is not None:
        for task, expected in zip(tasks, _totals(tasks, steps_per_task, None), strict=True):
            if schedule.steps_of(task) != expected:
                raise UserError(
                    f"schedule: the stages give {task!r} {schedule.steps_of(task)} steps, "
                    f"steps_per_task says {expected}; make the table add up"
                )
    return schedule


def _totals(tasks: Sequence[str], steps_per_task: Steps | None, total_steps: int | None) -> list[int]:
    """Steps of each task from the one amount that was given."""
    if not tasks:
        raise UserError("schedule: needs at least one task")
    if (steps_per_task is None) == (total_steps is None):
        raise UserError("schedule: give exactly one of steps_per_task and total_steps")
    if total_steps is not None:
        totals = round_shares(total_steps, [Fraction(1, len(tasks))] * len(tasks))
    elif isinstance(steps_per_task, Mapping):
        for task in steps_per_task:
            if task not in tasks:
                raise unknown_name("task", task, tasks, "schedule, steps_per_task")
        missing = [task for task in tasks if task not in steps_per_task]
        if missing:
            raise UserError(f"schedule: steps_per_task has no number for {', '.join(missing)}")
        totals = [steps_per_task[task] for task in tasks]
    else:
        assert steps_per_task is not None
        totals = [steps_per_task] * len(tasks)
    for task, total in zip(tasks, totals, strict=True):
        if total < 1:
            raise UserError(f"schedule: task {task!r} needs at least 1 step, found {total}")
    return totals
