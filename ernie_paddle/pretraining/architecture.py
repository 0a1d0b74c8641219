"""The model architecture that a recipe and its corpora require."""

from __future__ import annotations

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.pretraining.recipe import Recipe
from propeller.errors import UserError
from reader.errors import DataError


def architecture(recipe: Recipe, corpus: str, vocab_size: int, pad: int) -> ErnieConfig:
    """Return the recipe's architecture; a ``vocab_size`` of null is replaced by that of the corpus.

    Raises:
        UserError: A setting is unknown or impossible.
        DataError: The corpus was prepared with a vocabulary larger than the model's.
    """
    settings = {"vocab_size": vocab_size, "pad_token_id": pad} | {k: v for k, v in recipe.arch.items() if v is not None}
    config = ErnieConfig.from_dict(settings, f"{recipe.name}: arch")
    if vocab_size > config.vocab_size:
        raise DataError(
            f"{corpus} was prepared with a vocabulary of {vocab_size:,} pieces, but arch.vocab_size is "
            f"{config.vocab_size:,}; set it to {vocab_size} or more"
        )
    if config.use_task_id:
        for name, task in recipe.tasks.items():
            if task.task_id >= config.task_type_vocab_size:
                raise UserError(
                    f"{recipe.name}: tasks.{name}.task_id is {task.task_id}, but the model has only "
                    f"arch.task_type_vocab_size: {config.task_type_vocab_size} task ids, counted from 0"
                )
    return config
