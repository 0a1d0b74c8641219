"""What is trained in one step: a task of the recipe, or several whose losses are summed ("On Losses", section 3.3).

Tasks whose objectives fit on the same rows share one encoding; the others keep rows of their own and share the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ernie_paddle.objectives.registry import make_objectives
from ernie_paddle.recipe import JOINED, CorpusConfig, Recipe
from propeller.errors import UserError


@dataclass(frozen=True)
class Member:
    """Tasks that share rows.

    Attributes:
        tasks: their names, in the recipe's order.
        objectives: those of all of them, each once.
        corpora: what they all read.
        task_id: with which the rows are fed.
    """

    tasks: tuple[str, ...]
    objectives: dict[str, dict[str, Any]]
    corpora: list[CorpusConfig]
    task_id: int

    @property
    def name(self) -> str:
        """ "mlm+nsp", say."""
        return JOINED.join(self.tasks)


@dataclass(frozen=True)
class Combination:
    """What one step trains; a single task is a combination of one.

    Attributes:
        tasks: their names, in the recipe's order.
        members: who shares rows with whom. Several members divide the tokens of a step evenly.
    """

    tasks: tuple[str, ...]
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """The name of what is trained."""
        return JOINED.join(self.tasks)


def combine(recipe: Recipe, tasks: Sequence[str], lead: str | None = None) -> Combination:
    """Sum some tasks of a recipe, on as few encodings as their objectives allow.

    Tasks share rows if they read the same corpora, at most one of their objectives arranges the input, and no two of
    them need an array of the same name. Each joins the first ones that it can share with.

    Args:
        recipe: has the tasks.
        tasks: their names.
        lead: whose task id the rows get that it is on; other rows have that of their first task.

    Raises:
        UserError: unusable objectives, or two tasks with the same objective in different settings.
    """
    groups: list[list[str]] = []
    for task in tasks:
        home = next((group for group in groups if _can_share(recipe, [*group, task])), None)
        if home is None:
            groups.append([task])
        else:
            home.append(task)
    members = tuple(
        Member(
            tuple(group),
            _merged(recipe, group),
            recipe.corpora_of(group[0]),
            recipe.tasks[lead if lead in group else group[0]].task_id,
        )
        for group in groups
    )
    return Combination(tuple(tasks), members)


def _merged(recipe: Recipe, tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The objectives of all tasks, each once."""
    owner: dict[str, str] = {}
    merged: dict[str, dict[str, Any]] = {}
    for task in tasks:
        for name, settings in recipe.tasks[task].objectives.items():
            if merged.setdefault(name, settings) != settings:
                raise UserError(
                    f"{recipe.name}: tasks {owner[name]!r} and {task!r} are trained together, but {name} has other "
                    f"settings in each ({merged[name]} and {settings}); make them equal"
                )
            owner.setdefault(name, task)
    return merged


def _can_share(recipe: Recipe, tasks: Sequence[str]) -> bool:
    """Whether the objectives of these tasks fit on one set of rows."""
    if any(recipe.corpora_of(task) != recipe.corpora_of(tasks[0]) for task in tasks):
        return False
    objectives = make_objectives(_merged(recipe, tasks), f"{recipe.name}: tasks {' and '.join(tasks)}")
    inputs = [item.name for objective in objectives for item in objective.inputs]
    return sum(objective.arranges for objective in objectives) <= 1 and len(set(inputs)) == len(inputs)
