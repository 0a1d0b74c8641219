"""With which task id a model is fine-tuned: `--task_id` as a number, or the name of a task that it was pre-trained on.

The id becomes part of the model's configuration, so that evaluation, prediction and export use it, too.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ernie_paddle.checkpoints.model_dir import find_model_dir
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.pretraining.continuation import plan_of
from propeller.errors import UserError
from propeller.run import checkpoint
from propeller.settings import unknown_name


def with_task_id(config: ErnieConfig, given: str, model: Path | None) -> ErnieConfig:
    """The configuration with the task id that is meant by `given`.

    Args:
        config: of the model.
        given: a number, or the name of a task of the model's pre-training recipe.
        model: its folder; None for random weights.

    Raises:
        UserError: the model has no task embedding, no such task, or fewer ids.
    """
    if not config.use_task_id:
        raise UserError(f"--task_id {given}: this model has no task embedding (use_task_id is false); leave it out")
    number = int(given) if given.isdecimal() else _id_of(given, model)
    if number >= config.task_type_vocab_size:
        raise UserError(f"--task_id {given}: the model has only {config.task_type_vocab_size} task ids, counted from 0")
    return dataclasses.replace(config, default_task_id=number)


def _id_of(name: str, model: Path | None) -> int:
    """The id that the rows of a pre-training task were fed with."""
    plan = None
    if model is not None:
        found = find_model_dir(model)
        if (found / checkpoint.MANIFEST).is_file():
            plan = plan_of(checkpoint.read(found, check=False))
    if plan is None:
        raise UserError(
            f"--task_id {name}: names are those of a pre-training recipe, and {model or 'a random model'} has none; "
            "give a number"
        )
    if name not in plan.recipe.tasks:
        raise unknown_name("task", name, plan.recipe.tasks, f"--task_id, recipe {plan.recipe.name}")
    return plan.task_id(name)
