"""Continuing pre-training from another run's checkpoint, with more objectives (ERNIE 2.0, "Continual Pre-training").

The paper calls this "incremental": a new task is trained together with the old ones, starting from the parameters that
the old tasks have learnt. The checkpoint is self-contained: its recipe and step give the steps of every task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.objectives.registry import registry
from ernie_paddle.pretraining.recipe import Recipe
from ernie_paddle.pretraining.schedule.plan import History, TrainingPlan, make_plan
from propeller.errors import UserError
from propeller.run import checkpoint
from propeller.run.run_folder import CHECKPOINTS
from propeller.run.trainer import PARAMETERS, STATE, TRAINING
from propeller.settings import from_mapping
from reader.corpora.corpus import read_corpus_info
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.vocab import Vocab

RECIPE = "recipe.json"
ORIGIN = "origin.json"
LABELS = "labels.json"
# These may change from one run to the next: they affect neither the shape nor the meaning of a parameter.
_FREE = ("hidden_dropout_prob", "attention_probs_dropout_prob", "default_task_id")


@dataclass(frozen=True)
class Origin:
    """The checkpoint from which a run continues pre-training.

    Attributes:
        checkpoint: The verified checkpoint.
        sha256: Hash of its manifest, which has the hashes of all its files.
        recipe: The recipe that it was trained with.
        history: The tasks and steps that it was trained on, including earlier runs.
        labels: The :func:`class_labels` of its recipe; empty for a checkpoint of an older version, which has none.
    """

    checkpoint: checkpoint.Checkpoint
    sha256: str
    recipe: Recipe
    history: History
    labels: Mapping[str, Sequence[str]]

    def document(self) -> dict[str, Any]:
        """The origin as plain data, written into the checkpoints of the run that continues from it."""
        return {
            "checkpoint": str(self.checkpoint.path),
            "sha256": self.sha256,
            "steps": dict(self.history.steps),
            "introduced": list(self.history.introduced),
        }

    def tensors(self) -> dict[str, Any]:
        """The parameters and the optimizer's state."""
        return {**self.checkpoint.tensors(PARAMETERS), **self.checkpoint.tensors(TRAINING)}

    def precision(self) -> dict[str, Any]:
        """The state of the checkpoint's precision (loss scale etc.)."""
        found: dict[str, Any] = self.checkpoint.document(STATE)["learner"]["precision"]
        return found

    def check(self, recipe: Recipe, config: ErnieConfig, vocab: Vocab) -> None:
        """Refuse a recipe that cannot continue from this checkpoint.

        Raises:
            UserError: The architecture, the vocabulary, the id of an old task or the labels of a class differ.
        """
        path = self.checkpoint.path
        before, now = ErnieConfig.from_json(path / "config.json").to_dict(), config.to_dict()
        changed = [key for key in now if before.get(key) != now[key] and key not in _FREE]
        if changed:
            shown = "; ".join(f"{key} was {before.get(key)} and is {now[key]}" for key in changed[:3])
            raise UserError(
                f"{path} has a different architecture from {recipe.name} ({shown}); use the checkpoint's in the recipe"
            )
        if load_tokenizer(path).vocab.sha256 != vocab.sha256:
            raise UserError(
                f"{path} was trained with a different vocabulary from the recipe's corpora; prepare the corpora "
                f"with --vocab {path}"
            )
        for name, task in recipe.tasks.items():
            old = self.recipe.tasks.get(name)
            if old is not None and old.task_id != task.task_id and config.use_task_id:
                raise UserError(
                    f"{recipe.name}: tasks.{name}.task_id is {task.task_id}, but in {path} the task was "
                    f"trained with {old.task_id}; use that id in the recipe"
                )
        # A head is named after its objective, so a task of another name uses the same head.
        for name, labels in class_labels(recipe).items():
            for old_name, old_labels in self.labels.items():
                if _labelled(recipe, name) != _labelled(self.recipe, old_name):
                    continue
                for number, (was, given) in enumerate(zip_longest(old_labels, labels)):
                    if was != given:
                        raise UserError(
                            f"{recipe.name}: class {number} of task {name!r} is {_quoted(given)} in "
                            f"{recipe.corpora_of(name)[0].path}, but was {_quoted(was)} in {path}; prepare the "
                            f"pairs with --labels and the labels of {path / LABELS} in the same order"
                        )


def class_labels(recipe: Recipe) -> dict[str, list[str]]:
    """The labels of the classes of each task's head, in the order of the classes, by task.

    Only objectives whose labels come from the corpora are included; the classes of all other objectives have a fixed
    meaning.

    Raises:
        DataError: A corpus has not been prepared.
        UserError: Two tasks share a head but have different labels.
    """
    labels: dict[str, list[str]] = {}
    first_with: dict[str, str] = {}
    for task in recipe.tasks:
        objective = _labelled(recipe, task)
        if objective is None:
            continue
        # All corpora of a task have the same labels, or the objective refuses them; text has no labels.
        labels[task] = read_corpus_info(recipe.corpora_of(task)[0].path).get("labels", [])
        first = first_with.setdefault(objective, task)
        if labels[task] != labels[first]:
            raise UserError(
                f"{recipe.name}: the labels of {recipe.corpora_of(task)[0].path} (task {task!r}) differ from those of "
                f"{recipe.corpora_of(first)[0].path} (task {first!r}), but both tasks share the head of {objective}; "
                "prepare both with the same --labels"
            )
    return labels


def _labelled(recipe: Recipe, task: str) -> str | None:
    """The objective of a task whose classes are the labels of its corpora; None if it has no such objective."""
    known = registry()
    own = recipe.tasks[task].objectives if task in recipe.tasks else {}
    return next((name for name in own if name in known and known[name].labels_from_corpora), None)


def _quoted(label: str | None) -> str:
    return "not there" if label is None else repr(label)


def open_origin(path: Path) -> Origin:
    """Open the checkpoint at ``path``, or the newest intact checkpoint of the run at ``path``.

    Raises:
        UserError: There is no checkpoint, it is damaged, or it was not written by ``ernie pretrain``.
    """
    found = path
    if not (path / checkpoint.MANIFEST).is_file():
        newest, problems = checkpoint.latest_valid(path / CHECKPOINTS)
        if newest is None:
            reason = problems[0] if problems else "no checkpoint in it"
            raise UserError(f"--continue_from {path}: {reason}; give a checkpoint or the folder of a pre-training run")
        found = newest
    opened = checkpoint.verify(found)
    plan = plan_of(opened)
    if plan is None or TRAINING not in opened.names:
        raise UserError(f"--continue_from {found}: not a checkpoint of `ernie pretrain` (no {RECIPE} or {TRAINING})")
    sha256 = checkpoint.sha256_file(found / checkpoint.MANIFEST)
    labels = opened.document(LABELS) if LABELS in opened.names else {}
    return Origin(opened, sha256, plan.recipe, plan.history_at(opened.step), labels)


def plan_of(opened: checkpoint.Checkpoint) -> TrainingPlan | None:
    """The plan of a checkpoint's run, including the history before that run; None if the run is no pre-training.

    Raises:
        UserError: The checkpoint's recipe is damaged or of another version.
    """
    if RECIPE not in opened.names:
        return None
    recipe = from_mapping(Recipe, opened.document(RECIPE), str(opened.path / RECIPE))
    if ORIGIN not in opened.names:
        return make_plan(recipe)
    document = opened.document(ORIGIN)
    return make_plan(recipe, History(document["steps"], document["introduced"]))
