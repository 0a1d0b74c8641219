"""The options of fine-tuning as data: those of every run, in groups, and those that task types add of their own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ernie_paddle import option_kinds as kinds
from ernie_paddle.finetune.task_type import FORMATS, TASK_TYPES, task_class
from ernie_paddle.option_kinds import REQUIRED, Option, read_options
from propeller.errors import UserError
from propeller.run.lr import Kind as Schedule

PRECISIONS = ("float32", "bfloat16", "float16")
USUAL_TYPE = "classification"

_MODEL = (
    Option("model", Path, None, "checkpoint to start from; none: random weights of --size"),
    Option("size", str, "small", "without --model: tiny, small, base, large, or a name in configs/arch"),
    Option("vocab", Path, None, "without --model: vocabulary file or tokenizer folder"),
    Option(
        "max_length",
        kinds.positive_int,
        None,
        "longest input in pieces, special ones included; longer is cut",
        shown_default="the usual one of the task type, at most the model's limit",
    ),
    Option(
        "task_id",
        str,
        None,
        "task embedding to use: the name of a task of the model's pre-training recipe, or a number",
        shown_default="the model's own, which is 0 after pre-training",
    ),
)
_TRAINING = (
    Option("epochs", kinds.positive_int, 3, "passes over the training table"),
    Option("batch_size", kinds.positive_int, 32, "rows of one update, over all devices"),
    Option("lr", kinds.positive_number, 5e-5, "peak learning rate"),
    Option("schedule", str, "linear", "what the learning rate does after warmup", get_args(Schedule)),
    Option("warmup", kinds.fraction, 0.1, "share of the updates over which the rate grows"),
    Option(
        "layer_decay",
        kinds.ratio,
        None,
        "factor of the learning rate from each layer to the one below it, down to the embeddings; heads keep all of it",
    ),
    Option("weight_decay", kinds.non_negative_number, 0.01, "decoupled weight decay, none on vectors"),
    Option("adam_epsilon", kinds.positive_number, 1e-8, "added to the root of Adam's second moment"),
    Option(
        "dropout",
        kinds.fraction,
        None,
        "rate of dropout in training: of hidden layers, attention and the head",
        shown_default="the model's own",
    ),
    Option(
        "fgm",
        kinds.non_negative_number,
        0.0,
        "adversarial training: length by which the word vectors of a row are moved; 0: off",
    ),
    Option("clip_norm", kinds.positive_number, 1.0, "largest global gradient norm"),
    Option("seed", kinds.count, 0, "seed of everything random"),
    Option("metric", str, None, "metric that decides", shown_default="the first of the task type"),
    Option("patience", kinds.positive_int, None, "end after so many evaluations without improvement"),
    Option("precision", str, "float32", "type of computation", PRECISIONS),
)
_RUNNING = (
    Option("output", Path, REQUIRED, "folder of the run"),
    Option("overwrite", bool, False, "throw away the run in --output and start anew"),
    Option("micro_batch", kinds.positive_int, 64, "most rows of one forward pass; more are accumulated"),
    Option("eval_batch", kinds.positive_int, 64, "rows of a batch in evaluation"),
    Option("save_steps", kinds.positive_int, 1000, "updates between checkpoints inside an epoch"),
    Option("log_every", kinds.positive_int, 50, "updates between progress lines"),
)


def _data_options() -> tuple[Option, ...]:
    """The options of the tables; the types that may be chosen are looked up when they are asked for."""
    types = tuple(sorted(TASK_TYPES))
    return (
        Option("train", str, REQUIRED, "training table"),
        Option("dev", str, REQUIRED, "development table; decides which checkpoint is best"),
        Option("type", str, USUAL_TYPE, "task type; `--type X --help` lists its options", types),
        Option("format", str, "auto", "format of the tables; auto goes by the extension", FORMATS),
        Option("skip_unusable", bool, False, "skip rows that cannot be used, and report how many"),
    )


def option_groups(type: str) -> dict[str, tuple[Option, ...]]:
    """The options of fine-tuning for a task type, by the title of their group: the shared ones, and the type's own.

    Raises:
        UserError: there is no such type.
    """
    own = task_class(type).options
    return {"data": _data_options(), type: own, "model": _MODEL, "training": _TRAINING, "running": _RUNNING}


def options_of(type: str) -> list[Option]:
    """All options of fine-tuning for a task type."""
    return [option for group in option_groups(type).values() for option in group]


def other_types_options(type: str) -> dict[str, str]:
    """What a person is told who gives an option that this type does not have, but others: by the option's name."""
    own = set(kinds.names_of(options_of(type)))
    owners: dict[str, list[str]] = {}
    for other in TASK_TYPES:
        for option in task_class(other).options:
            if option.name not in own:
                owners.setdefault(option.name, []).append(other)
    return {name: f"--{name} is for {_listed(types)}; leave it out for --type {type}" for name, types in owners.items()}


def elsewhere_options(labels: bool) -> list[Option]:
    """The options of all task types that say how other tables differ from the training table.

    Args:
        labels: whether labels are read there.
    """
    found: dict[str, Option] = {}
    for type in TASK_TYPES:
        for option in task_class(type).options:
            if option.elsewhere is not None and (labels or not option.of_labels):
                found.setdefault(option.name, option)
    return list(found.values())


def read_finetune_options(given: Mapping[str, Any]) -> argparse.Namespace:
    """The options of a fine-tuning run, those that are not given with their defaults.

    Raises:
        UserError: an option that does not exist or that the task type does not have, that is missing, or that cannot
            have its value.
    """
    type = str(given.get("type", USUAL_TYPE))
    others = other_types_options(type)
    for name in given:
        if name in others:
            raise UserError(others[name])
    return read_options(options_of(type), given, "finetune")


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
