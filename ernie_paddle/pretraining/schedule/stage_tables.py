"""Tables of stages, computed from the steps of each task (ERNIE 2.0, Table 7; "On Losses", A)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from ernie_paddle.pretraining.schedule.schedule import Schedule, Stage
from propeller.errors import UserError
from propeller.settings import unknown_name

Steps = int | Mapping[str, int]
"""One number of steps for all tasks, or one for each task."""


def cmtl_fractions(n_tasks: int) -> list[list[Fraction]]:
    """The fraction of each task's steps in each stage: ``[task][stage]``, every row sums to 1.

    The i-th task (from 1) enters at stage i with (i+1)/(N+1) of its total and gets 1/(N+1) in every later stage
    ("On Losses", appendix A; ERNIE 2.0, Table 7).
    """
    return [
        [Fraction(0 if s < i else (i + 1 if s == i else 1), n_tasks + 1) for s in range(1, n_tasks + 1)]
        for i in range(1, n_tasks + 1)
    ]


def round_shares(total: int, shares: Sequence[Fraction]) -> list[int]:
    """Round to whole numbers that sum to ``total`` and lie within 1 of ``total * shares`` (which sum to 1).

    Uses the largest-remainder method: each share gets its whole part, and the remaining units go, one each, to the
    largest fractional parts (the earlier one at a tie). A share of 0 stays 0.
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
    """Continual multi-task learning: every stage adds a task and keeps training the earlier ones.

    Amounts that are not whole numbers are rounded by :func:`round_shares` so that every task keeps its total.

    Args:
        tasks: Task names, in the order in which they are introduced.
        steps_per_task: N of the paper: steps of each task over the whole run, one number for all or one per task.
        total_steps: Alternative to ``steps_per_task``: the steps of the run, divided equally.
        seed: Determines the order of the steps within the stages.

    Raises:
        UserError: Neither or both amounts are given, a task has no steps, or ``steps_per_task`` has an unknown
            task.
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
    tasks: Sequence[str],
    stages: Sequence[Mapping[str, int]],
    *,
    steps_per_task: Steps | None = None,
    total_steps: int | None = None,
    seed: int = 0,
) -> Schedule:
    """A table written by hand: for each stage the steps of its tasks.

    Args:
        tasks: All tasks of the run.
        stages: One mapping per stage; a task that is missing has no steps in the stage.
        steps_per_task: If given, the totals that the table must add up to.
        total_steps: If given, the steps of the run that the table must add up to.
        seed: Determines the order of the steps within the stages.

    Raises:
        UserError: A task is not in ``tasks``, an amount is not a whole number of at least 0, a stage or a task has
            no steps, or the table does not add up.
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
                    f"but steps_per_task is {expected}; make the table add up"
                )
    if total_steps is not None and schedule.total_steps != total_steps:
        raise UserError(
            f"schedule: the stages have {schedule.total_steps} steps in all, but total_steps: {total_steps}; make the "
            "table add up"
        )
    return schedule


def _totals(tasks: Sequence[str], steps_per_task: Steps | None, total_steps: int | None) -> list[int]:
    """The steps of each task, computed from the given amount."""
    if not tasks:
        raise UserError("schedule: give at least one task")
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
