"""The options of fine-tuning as data: shared options in groups, and the further options of each task type."""

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
    Option("model", Path, None, "checkpoint to start from; without one, random weights of --size"),
    Option("size", str, "small", "without --model: tiny, small, base, large, or a name in configs/arch"),
    Option("vocab", Path, None, "without --model: vocabulary file or tokenizer folder"),
    Option(
        "max_length",
        kinds.positive_int,
        None,
        "maximum input length in tokens, including special ones; longer inputs are truncated",
        shown_default="depends on the task type, at most the model's limit",
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
    Option("epochs", kinds.positive_int, 3, "number of epochs"),
    Option("batch_size", kinds.positive_int, 32, "rows per update, over all devices"),
    Option("lr", kinds.positive_number, 5e-5, "peak learning rate"),
    Option("schedule", str, "linear", "shape of the learning rate after warmup", get_args(Schedule)),
    Option("warmup", kinds.fraction, 0.1, "fraction of the updates in which the learning rate rises to its peak"),
    Option(
        "layer_decay",
        kinds.ratio,
        None,
        "factor of the learning rate from each layer to the next lower one, down to the embeddings; none for heads",
    ),
    Option(
        "weight_decay",
        kinds.non_negative_number,
        0.01,
        "decoupled weight decay; biases and LayerNorm parameters have none",
    ),
    Option("adam_epsilon", kinds.positive_number, 1e-8, "epsilon of Adam, added to the root of the second moment"),
    Option(
        "dropout",
        kinds.fraction,
        None,
        "dropout rate of hidden layers, attention and the head",
        shown_default="the model's own",
    ),
    Option(
        "fgm",
        kinds.non_negative_number,
        0.0,
        "adversarial training: norm of the perturbation of a row's word vectors; 0: off",
    ),
    Option("clip_norm", kinds.positive_number, 1.0, "gradients are clipped to this global norm"),
    Option("seed", kinds.count, 0, "seed of all random numbers"),
    Option("metric", str, None, "metric that selects the best checkpoint", shown_default="the first of the task type"),
    Option("patience", kinds.positive_int, None, "stop after this number of evaluations without improvement"),
    Option("precision", str, "float32", "number format of the computation", PRECISIONS),
)
_RUNNING = (
    Option("output", Path, REQUIRED, "folder of the run"),
    Option("overwrite", bool, False, "delete the run in --output and start a new one"),
    Option(
        "micro_batch",
        kinds.positive_int,
        64,
        "maximum number of rows per forward pass; gradients of larger batches are accumulated",
    ),
    Option("eval_batch", kinds.positive_int, 64, "rows per batch in evaluation"),
    Option("save_steps", kinds.positive_int, 1000, "updates between checkpoints within an epoch"),
    Option("log_every", kinds.positive_int, 50, "updates between progress lines"),
)


def _data_options() -> tuple[Option, ...]:
    """The options of the tables; the types that may be chosen are looked up when they are asked for."""
    types = tuple(sorted(TASK_TYPES))
    return (
        Option("train", str, REQUIRED, "labelled table to train on"),
        Option("dev", str, REQUIRED, "labelled table to evaluate on, which selects the best checkpoint"),
        Option("type", str, USUAL_TYPE, "task type; `--type X --help` lists its options", types),
        Option("format", str, "auto", "format of the tables; auto chooses by the file extension", FORMATS),
        Option(
            "skip_unusable", bool, False, "skip unusable rows and report their number, instead of stopping at the first"
        ),
    )


def option_groups(type: str) -> dict[str, tuple[Option, ...]]:
    """The options of fine-tuning for a task type by group title: the shared ones, and those of the type.

    Raises:
        UserError: There is no such type.
    """
    own = task_class(type).options
    return {"data": _data_options(), type: own, "model": _MODEL, "training": _TRAINING, "running": _RUNNING}


def options_of(type: str) -> list[Option]:
    """All options of fine-tuning for a task type."""
    return [option for group in option_groups(type).values() for option in group]


def other_types_options(type: str) -> dict[str, str]:
    """Error messages, by option name, for options that only other task types have."""
    own = set(kinds.names_of(options_of(type)))
    owners: dict[str, list[str]] = {}
    for other in TASK_TYPES:
        for option in task_class(other).options:
            if option.name not in own:
                owners.setdefault(option.name, []).append(other)
    return {name: f"--{name} is for {_listed(types)}; remove it for --type {type}" for name, types in owners.items()}


def elsewhere_options(labels: bool) -> list[Option]:
    """The options of all task types that describe how another table differs from the training table.

    Args:
        labels: Whether labels are read from the other table.
    """
    found: dict[str, Option] = {}
    for type in TASK_TYPES:
        for option in task_class(type).options:
            if option.elsewhere is not None and (labels or not option.of_labels):
                found.setdefault(option.name, option)
    return list(found.values())


def read_finetune_options(given: Mapping[str, Any]) -> argparse.Namespace:
    """Complete the options of a fine-tuning run with their defaults.

    Raises:
        UserError: An option does not exist or belongs to other task types, is missing, or has an invalid value.
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
