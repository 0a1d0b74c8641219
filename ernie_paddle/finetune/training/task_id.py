"""The task id of fine-tuning: `--task_id` as a number, or as the name of a task of the model's pre-training.

The id becomes part of the model's configuration, so that evaluation, prediction and export use the same id.
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
    """The configuration with the task id given by the user.

    Args:
        config: Configuration of the model.
        given: A number, or the name of a task of the model's pre-training recipe.
        model: Folder of the model; None for random weights.

    Raises:
        UserError: The model has no task embedding, no such task, or fewer ids.
    """
    if not config.use_task_id:
        raise UserError(
            f"--task_id {given}: this model has no task embedding (use_task_id is false); remove the option"
        )
    number = int(given) if given.isdecimal() else _id_of(given, model)
    if number >= config.task_type_vocab_size:
        raise UserError(f"--task_id {given}: the model has only {config.task_type_vocab_size} task ids, counted from 0")
    return dataclasses.replace(config, default_task_id=number)


def _id_of(name: str, model: Path | None) -> int:
    """The task id of the rows of a pre-training task."""
    plan = None
    if model is not None:
        found = find_model_dir(model)
        if (found / checkpoint.MANIFEST).is_file():
            plan = plan_of(checkpoint.read(found, check=False))
    if plan is None:
        raise UserError(
            f"--task_id {name}: names come from a pre-training recipe, but {model or 'a random model'} has none; "
            "give a number"
        )
    if name not in plan.recipe.tasks:
        raise unknown_name("task", name, plan.recipe.tasks, f"--task_id, recipe {plan.recipe.name}")
    return plan.task_id(name)
