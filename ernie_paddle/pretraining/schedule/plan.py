"""The plan of a run: what is trained at every step, with the kinds of ``schedule.kind`` as data.

A kind determines what is trained (single tasks or sums of tasks) and the table of stages. No other part of a run
depends on the kind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ernie_paddle.pretraining.recipe import JOINED, Recipe
from ernie_paddle.pretraining.schedule.schedule import Schedule, Stage
from ernie_paddle.pretraining.schedule.stage_tables import cmtl, from_table, multi_task, sequential
from ernie_paddle.pretraining.schedule.task_sums import TaskSum, sum_tasks
from propeller.errors import UserError
from propeller.settings import unknown_name


@dataclass(frozen=True)
class History:
    """What earlier runs trained, for a run that continues from them.

    Attributes:
        steps: Steps of each trained task or sum, by name.
        introduced: Tasks that were trained, alone or in a sum.
    """

    steps: Mapping[str, int] = field(default_factory=dict)
    introduced: Collection[str] = ()


@dataclass(frozen=True)
class TrainingPlan:
    """What a run trains.

    Attributes:
        recipe: The recipe from which the plan was made.
        trained: The tasks and sums that the steps train, by their names in the schedule.
        schedule: Which of them is trained at which step.
        history: What earlier runs trained.
    """

    recipe: Recipe
    trained: Mapping[str, TaskSum]
    schedule: Schedule
    history: History = field(default_factory=History)

    def sums_of(self, task: str) -> list[TaskSum]:
        """The sums that train a task of the recipe, in the order in which they are introduced."""
        names = sorted(self.trained, key=self.schedule.introduced_at)
        return [self.trained[name] for name in names if task in self.trained[name].tasks]

    def introduced(self, step: int) -> list[str]:
        """The tasks of the recipe that have been trained, alone or in a sum, when ``step`` steps are done."""
        return [
            task
            for task in self.recipe.tasks
            if task in self.history.introduced
            or any(self.schedule.count_before(step, each.name) for each in self.sums_of(task))
        ]

    def history_at(self, step: int) -> History:
        """The history for a run that continues from this one after ``step`` steps."""
        steps = {name: self.schedule.count_before(step, name) for name in self.trained}
        steps = {name: count for name, count in {**self.history.steps, **steps}.items() if count}
        return History(steps, [*dict.fromkeys([*self.history.introduced, *self.introduced(step)])])

    def task_id(self, task: str) -> int:
        """The task id of a task's rows: that of the first sum that trains the task."""
        for each in self.sums_of(task):
            return next(group.task_id for group in each.groups if task in group.tasks)
        return self.recipe.tasks[task].task_id


# --------------------------------------------------------------------------------------------------------------- kinds


def _alone(recipe: Recipe) -> dict[str, TaskSum]:
    """Every task alone."""
    return {task: sum_tasks(recipe, [task]) for task in recipe.tasks}


def _all(recipe: Recipe) -> dict[str, TaskSum]:
    """One sum of all tasks; its steps belong to no single task."""
    return {"": sum_tasks(recipe, list(recipe.tasks))}


def _grown(recipe: Recipe) -> dict[str, TaskSum]:
    """The first task, the sum of the first two, and so on; each is named after the task that it adds."""
    tasks = list(recipe.tasks)
    return {task: sum_tasks(recipe, tasks[: i + 1]) for i, task in enumerate(tasks)}


def _with_first(recipe: Recipe) -> dict[str, TaskSum]:
    """Every task but the first, summed with the first."""
    base, *others = recipe.tasks
    if not others:
        raise UserError(
            f"{recipe.name}: schedule.kind {recipe.schedule.kind} needs a second task to sum the first with"
        )
    return {task: sum_tasks(recipe, [base, task], lead=task) for task in others}


@dataclass(frozen=True)
class _Kind:
    """A kind of schedule: the function that maps tasks to what is trained for them, and the one that makes the table.

    Attributes:
        trained: Returns the trained sums, each by the task whose steps count it.
        table: Makes the table of stages.
        in_turn: Whether the tasks of a stage take turns.
        grows: Whether stages introduce the tasks one after the other; a run that continues from others then begins with
            the stage of its first new task.
    """

    trained: Callable[[Recipe], dict[str, TaskSum]]
    table: Callable[..., Schedule]
    in_turn: bool = False
    grows: bool = False


KINDS: Mapping[str, _Kind] = {
    "sum": _Kind(_all, multi_task),
    "incremental": _Kind(_grown, sequential, grows=True),
    "alternating": _Kind(_alone, multi_task, in_turn=True),
    "alternating_plus": _Kind(_with_first, multi_task, in_turn=True),
    "cmtl": _Kind(_alone, cmtl, grows=True),
    "cmtl_plus": _Kind(_with_first, cmtl, grows=True),
    "multi_task": _Kind(_alone, multi_task),
    "sequential": _Kind(_alone, sequential, grows=True),
}


def make_plan(recipe: Recipe, history: History | None = None) -> TrainingPlan:
    """Make the plan of a recipe: what is trained at which step.

    A run that continues from others resumes the data and the learning rates of old tasks where these stopped.

    Raises:
        UserError: Tasks cannot be combined, a table does not add up, or new tasks are named before old ones.
    """
    settings, amounts, history = recipe.schedule, _amounts(recipe), history or History()
    if settings.kind == "table":
        trained = _written(recipe, history)
        schedule = from_table(list(trained), settings.stages, seed=recipe.train.seed, **amounts)
    else:
        kind = KINDS[settings.kind]
        by_task = kind.trained(recipe)
        trained = {each.name: each for each in by_task.values()}
        names = {task: each.name for task, each in by_task.items()}
        per_task = amounts.get("steps_per_task")
        if isinstance(per_task, Mapping):
            amounts["steps_per_task"] = _renamed(recipe, per_task, names)
        schedule = kind.table(list(trained), seed=recipe.train.seed, **amounts)
        schedule = replace(schedule, in_turn=kind.in_turn)
        if kind.grows and history.introduced:
            schedule = _later_stages(recipe, trained, schedule, history)
            trained = {name: trained[name] for name in schedule.tasks}
    done = tuple(history.steps.get(name, 0) for name in trained)
    return TrainingPlan(recipe, trained, replace(schedule, done=done), history)


def make_schedule(recipe: Recipe) -> Schedule:
    """The schedule of a recipe; see :func:`make_plan`."""
    return make_plan(recipe).schedule


def _later_stages(recipe: Recipe, trained: Mapping[str, TaskSum], schedule: Schedule, history: History) -> Schedule:
    """The stages from the one that introduces the first new task, and what they train; all stages if no task is new."""
    new = [not set(each.tasks) <= set(history.introduced) for each in trained.values()]
    if not any(new):
        return schedule
    first = new.index(True)
    if not all(new[first:]):
        old = list(trained.values())[first + new[first:].index(False)]
        raise UserError(
            f"{recipe.name}: kind {recipe.schedule.kind} introduces tasks in the recipe's order, but "
            f"{old.tasks[-1]!r} was trained before and is listed after a new task; list the new tasks last"
        )
    stages = schedule.stages[first:]
    kept = [i for i in range(len(new)) if any(stage.steps[i] for stage in stages)]
    rows = tuple(Stage(tuple(stage.steps[i] for i in kept)) for stage in stages)
    return replace(schedule, tasks=tuple(schedule.tasks[i] for i in kept), stages=rows)


def _written(recipe: Recipe, history: History) -> dict[str, TaskSum]:
    """The tasks and sums of tasks that a table written by hand names."""
    names = dict.fromkeys(name for stage in recipe.schedule.stages for name in stage)
    for name in names:
        if len(set(name.split(JOINED))) < len(name.split(JOINED)):
            raise UserError(f"{recipe.name}: schedule.stages: {name!r} names a task twice")
    trained = {name: sum_tasks(recipe, name.split(JOINED)) for name in names}
    for task in recipe.tasks:
        if task not in history.introduced and not any(task in each.tasks for each in trained.values()):
            raise UserError(
                f"{recipe.name}: schedule: task {task!r} has no steps in any stage; give it steps or remove it"
            )
    return trained


def _renamed(recipe: Recipe, amounts: Mapping[str, int], names: Mapping[str, str]) -> dict[str, int]:
    """Convert amounts by task to amounts by the name of what is trained."""
    where = f"{recipe.name}: schedule, steps of each task"
    if "" in names:
        raise UserError(f"{where}: kind {recipe.schedule.kind} trains all tasks in every step; give one number")
    for task in amounts:
        if task in recipe.tasks and task not in names:
            raise UserError(
                f"{where}: {task!r} is part of every step of kind {recipe.schedule.kind}; give the other numbers only"
            )
        if task not in names:
            raise unknown_name("task", task, names, where)
    missing = [task for task in names if task not in amounts]
    if missing:
        raise UserError(f"{where}: no number for {', '.join(missing)}")
    return {names[task]: amount for task, amount in amounts.items()}


def _amounts(recipe: Recipe) -> dict[str, Any]:
    """The amount of training of the recipe, in steps."""
    settings = recipe.schedule
    if settings.steps_per_task is not None:
        return {"steps_per_task": settings.steps_per_task}
    if settings.total_steps is not None:
        return {"total_steps": settings.total_steps}
    if settings.total_tokens is not None:
        return {"total_steps": _steps(recipe, settings.total_tokens)}
    if isinstance(settings.tokens_per_task, Mapping):
        return {"steps_per_task": {task: _steps(recipe, n) for task, n in settings.tokens_per_task.items()}}
    if settings.tokens_per_task is not None:
        return {"steps_per_task": _steps(recipe, settings.tokens_per_task)}
    return {}


def _steps(recipe: Recipe, tokens: int) -> int:
    """The number of steps nearest to a number of tokens, a full batch each."""
    train = recipe.train
    batch = train.batch_tokens or (train.batch_rows or 0) * recipe.data.max_length
    steps = round(tokens / batch)
    if steps < 1:
        raise UserError(
            f"{recipe.name}: schedule: {tokens:,} tokens are less than half a batch of {batch:,}; raise it or lower "
            "the size of the batch"
        )
    return steps
