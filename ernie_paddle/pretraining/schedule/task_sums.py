"""What one step trains: a task of the recipe, or several tasks whose losses are summed ("On Losses", section 3.3).

Tasks whose objectives fit on the same rows share one encoding; the others keep rows of their own and share the step.
Token-level objectives learn from every token of the step (Figure 1 there): objectives that do not arrange the input
are added to all rows on which they fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ernie_paddle.objectives.registry import make_objective, make_objectives
from ernie_paddle.pretraining.recipe import JOINED, CorpusConfig, Recipe
from propeller.errors import UserError


@dataclass(frozen=True)
class RowGroup:
    """Tasks that share rows.

    Attributes:
        tasks: Names of the tasks, in the recipe's order.
        objectives: Objectives of all these tasks without duplicates, and those of the other tasks that fit on the rows.
            The weight of an objective that n groups have is divided by n: all groups have the same number of tokens, so
            that the losses of the objective add up to about its mean over the labels of the step.
        corpora: The corpora that all these tasks read.
        task_id: Task id of the rows.
    """

    tasks: tuple[str, ...]
    objectives: dict[str, dict[str, Any]]
    corpora: list[CorpusConfig]
    task_id: int

    @property
    def name(self) -> str:
        """The name of the group, such as "mlm+nsp"."""
        return JOINED.join(self.tasks)


@dataclass(frozen=True)
class TaskSum:
    """The tasks that one step trains; a single task is a sum of one.

    Attributes:
        tasks: Names of the tasks, in the recipe's order.
        groups: The groups of tasks that share rows. Several groups divide the tokens of a step evenly. (An objective
            that compares the rows of a batch then has fewer rows to compare than if its task shared all rows of a
            step.)
    """

    tasks: tuple[str, ...]
    groups: tuple[RowGroup, ...]

    @property
    def name(self) -> str:
        """The names of the tasks, joined by "+"."""
        return JOINED.join(self.tasks)


def sum_tasks(recipe: Recipe, tasks: Sequence[str], lead: str | None = None) -> TaskSum:
    """Sum tasks of a recipe, with as few encodings as their objectives allow.

    Tasks share rows if they read the same corpora, at most one of their objectives arranges the input, no two of them
    need an array of the same name, and none is exclusive. Each task joins the first group with which it can share
    rows. Objectives that do not arrange the input are then added to all rows of the same corpora, unless an array of
    the same name or an exclusive objective exists there.

    Args:
        recipe: The recipe with the tasks.
        tasks: Names of the tasks to sum.
        lead: Task whose id is used for the rows of its group; the rows of other groups have the id of their first
            task.

    Raises:
        UserError: Objectives are unusable, or two tasks have the same objective with different settings.
    """
    together: list[list[str]] = []
    for task in tasks:
        home = next((names for names in together if _can_share(recipe, [*names, task])), None)
        if home is None:
            together.append([task])
        else:
            home.append(task)
    trained = [_on_rows_of(recipe, names, tasks) for names in together]
    owners = Counter(name for objectives in trained for name in objectives)
    groups = tuple(
        RowGroup(
            tuple(names),
            {name: _divided(recipe, name, settings, owners[name]) for name, settings in objectives.items()},
            recipe.corpora_of(names[0]),
            recipe.tasks[lead if lead in names else names[0]].task_id,
        )
        for names, objectives in zip(together, trained, strict=True)
    )
    return TaskSum(tuple(tasks), groups)


def _on_rows_of(recipe: Recipe, group: Sequence[str], tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The objectives of a group of tasks, and those of the other tasks that do not arrange the input."""
    found = _merged(recipe, group)
    beside = [task for task in tasks if recipe.corpora_of(task) == recipe.corpora_of(group[0])]
    for name, settings in _merged(recipe, beside).items():
        joined = {**found, name: settings}
        if not make_objective(name, settings, recipe.name).arranges and _fit(joined, recipe.name):
            found = joined
    return found


def _divided(recipe: Recipe, name: str, settings: dict[str, Any], owners: int) -> dict[str, Any]:
    """Settings with the objective's weight divided by the number of its groups."""
    if owners == 1:
        return settings
    return {**settings, "weight": make_objective(name, settings, recipe.name).settings.weight / owners}


def _merged(recipe: Recipe, tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The objectives of all tasks, without duplicates."""
    owner: dict[str, str] = {}
    merged: dict[str, dict[str, Any]] = {}
    for task in tasks:
        for name, settings in recipe.tasks[task].objectives.items():
            if merged.setdefault(name, settings) != settings:
                raise UserError(
                    f"{recipe.name}: tasks {owner[name]!r} and {task!r} are trained together but differ in the "
                    f"settings of {name} ({merged[name]} and {settings}); make them equal"
                )
            owner.setdefault(name, task)
    return merged


def _can_share(recipe: Recipe, tasks: Sequence[str]) -> bool:
    """Whether the objectives of these tasks fit on one set of rows."""
    if any(recipe.corpora_of(task) != recipe.corpora_of(tasks[0]) for task in tasks):
        return False
    return _fit(_merged(recipe, tasks), f"{recipe.name}: tasks {' and '.join(tasks)}")


def _fit(settings: Mapping[str, Mapping[str, Any]], where: str) -> bool:
    """Whether these objectives fit on one set of rows."""
    objectives = make_objectives(settings, where)
    if len(objectives) > 1 and any(objective.exclusive for objective in objectives):
        return False
    inputs = [item.name for objective in objectives for item in objective.inputs]
    return sum(objective.arranges for objective in objectives) <= 1 and len(set(inputs)) == len(inputs)
