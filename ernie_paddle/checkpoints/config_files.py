"""Reading and writing the configuration files of other projects."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ernie_paddle.checkpoints.heads import WEIGHT
from ernie_paddle.checkpoints.hf_names import config_from_hf
from ernie_paddle.checkpoints.weights import Weights
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError

FAMILIES = ("ernie", "bert", "ernie_m")
TASK_TABLE = "ernie.embeddings.task_type_embeddings.weight"
_KEYS_LACKING = {
    "ernie": ("position_offset",),
    "bert": ("task_type_vocab_size", "use_task_id", "position_offset"),
    "ernie_m": ("type_vocab_size", "task_type_vocab_size", "use_task_id", "position_offset"),
}


def read_values(path: Path) -> dict[str, Any]:
    """Read the keys of a configuration; for PaddleNLP's older `model_config.json`, those of the encoder.

    Raises:
        UserError: The file cannot be read as a configuration.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; the configuration that belongs to the weights is needed") from None
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error})") from None
    while isinstance(values, dict) and "vocab_size" not in values:
        inner = values.get("init_args") or values.get("config")
        inner = inner[0] if isinstance(inner, list) and inner else inner
        # The class around the encoder determines the purpose of its head.
        named = values.get("init_class")
        values = {**inner, "init_class": named} if named and isinstance(inner, dict) else inner
    if not isinstance(values, dict):
        raise UserError(f"{path}: does not describe an encoder (it has no vocab_size)")
    return values


def family_of(values: Mapping[str, Any], names: Collection[str]) -> str:
    """The family that a configuration names, or else the names of the tensors; ERNIE by default."""
    if values.get("model_type"):
        return str(values["model_type"])
    of_a_class = re.match(r"(ErnieM|Bert|Ernie)[A-Z]", str(values.get("init_class")))
    if of_a_class:
        return {"ErnieM": "ernie_m", "Bert": "bert", "Ernie": "ernie"}[of_a_class[1]]
    for family in ("ernie_m", "bert"):
        if any(name.startswith(f"{family}.") for name in names):
            return family
    return "ernie"


def read_config(
    path: Path, family: str, names: Collection[str], layer_norm_eps: float | None
) -> tuple[ErnieConfig, list[str]]:
    """Read the architecture from a file, with notes about it.

    Args:
        path: The file.
        family: See `family_of`.
        names: Our names of the tensors, which show whether there is a task embedding if the file is wrong about it.
        layer_norm_eps: The user's value, for files that do not state it.

    Raises:
        UserError: The file does not describe an encoder, or contradicts the user's value.
    """
    values, notes = read_values(path), []
    stated = values.get("layer_norm_eps", values.get("epsilon", values.get("layer_norm_epsilon")))
    if stated is None and layer_norm_eps is None:
        raise UserError(
            f"{path}: layer_norm_eps is missing and has no safe default; run `ernie convert` with "
            "--layer_norm_eps 1e-5 (the static ERNIE releases) or 1e-12 (PaddleNLP, BERT and Hugging Face)"
        )
    if stated is None:
        values["layer_norm_eps"] = layer_norm_eps
    elif layer_norm_eps is not None and layer_norm_eps != stated:
        raise UserError(f"{path}: layer_norm_eps is {stated}, --layer_norm_eps {layer_norm_eps}; leave the option out")
    has_table = TASK_TABLE in names
    task_id = values.pop("task_id", 0)  # PaddleNLP's name for it
    if task_id and has_table:
        values.setdefault("default_task_id", task_id)
    if family == "ernie" and bool(values.get("use_task_id")) != has_table:
        said = values.get("use_task_id")
        values["use_task_id"] = has_table
        if said is not None:
            notes.append(
                f"use_task_id is {str(said).lower()} in {path.name} and {str(has_table).lower()} here, since there is "
                + ("a task embedding" if has_table else "no task embedding")
            )
    try:
        return config_from_hf({**values, "model_type": family}), notes
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def config_values(weights: Weights, family: str, pretraining: str) -> dict[str, Any]:
    """The keys of a `config.json` of Hugging Face or PaddleNLP.

    Args:
        weights: Weights that the file describes.
        family: One of `FAMILIES`.
        pretraining: Name of the class with MLM and NSP heads, whose spelling differs ("ForPreTraining",
            "ForPretraining").

    Raises:
        UserError: The family has no such encoder.
    """
    if family not in FAMILIES:
        raise UserError(
            f"{weights.path}: this layout has no family {family}; name the family to write, such as --family ernie"
        )
    config = weights.config
    values = config.to_dict()
    values.pop("family", None)  # `model_type` states it there
    is_m = config.position_offset == 2 and config.type_vocab_size == 0 and not config.use_task_id
    if (family == "ernie_m") != is_m or (family != "ernie_m" and config.position_offset):
        raise UserError(f"this encoder cannot be written as one of the family {family} (its positions or its tables)")
    if family == "bert" and config.use_task_id:
        raise UserError("BERT has no task embedding, but this encoder has one; use --family ernie")
    for key in _KEYS_LACKING[family]:
        del values[key]
    prefix = {"ernie": "Ernie", "bert": "Bert", "ernie_m": "ErnieM"}[family]
    found: dict[str, Any] = {"model_type": family, "architectures": [prefix + _class(weights, pretraining)], **values}
    if values.get("default_task_id"):
        found["task_id"] = values["default_task_id"]
    if weights.head is not None:
        found |= weights.head.config_keys(weights.arrays[WEIGHT].shape[-1])
    return found


def _class(weights: Weights, pretraining: str) -> str:
    if weights.head is not None:
        return f"For{weights.head.kind}"
    if "cls.predictions.decoder_bias" not in weights.arrays:
        return "Model"
    return pretraining if "cls.seq_relationship.weight" in weights.arrays else "ForMaskedLM"
