"""Folders of Hugging Face's transformers: `model.safetensors`, `config.json`, `vocab.txt`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from ernie_paddle.checkpoints.config_files import config_values, family_of, read_config, read_values
from ernie_paddle.checkpoints.detect import HF, SAFETENSORS, TORCH
from ernie_paddle.checkpoints.heads import find_head
from ernie_paddle.checkpoints.hf_names import rename_hf, to_hf_tensors
from ernie_paddle.checkpoints.paddle_names import from_paddlenlp
from ernie_paddle.checkpoints.vocabulary import with_tokenizer, write_vocabulary
from ernie_paddle.checkpoints.weights import Renamed, Weights, floats_only
from propeller.errors import UserError
from propeller.run.checkpoint import write_json
from propeller.values import Arrays

_CONFIG = "config.json"
_NUMBERS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "?",
}  # fmt: skip
_PADDLE_NAME = re.compile(r"(.*\.)?encoder\.layers\.\d+\.self_attn\.[qkv]_proj\.weight")


def read_safetensors(path: Path) -> Arrays:
    """Read the arrays of a file by name; bfloat16 becomes uint16, as in Paddle.

    Raises:
        UserError: The file is damaged, or has a number type that weights do not have.
    """
    try:
        tensors: Any = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise UserError(f"{path}: damaged, or not a safetensors file ({error})") from None
    found: Arrays = {}
    for name, facts in sorted(tensors, key=lambda item: str(item[0])):
        if facts["dtype"] not in _NUMBERS:
            raise UserError(f"{path}: {name} holds numbers of type {facts['dtype']}, which is not supported")
        found[name] = np.frombuffer(facts["data"], _NUMBERS[facts["dtype"]]).reshape(facts["shape"])
    return found


def read_hf(path: Path, vocab: Path | None, layer_norm_eps: float | None) -> Weights:
    """Read a folder, including one that PaddleNLP wrote as safetensors with its own names.

    Raises:
        UserError: A file is missing or damaged, does not describe an encoder, or is `pytorch_model.bin` alone.
        DataError: The vocabulary is unusable.
    """
    if not (path / SAFETENSORS).is_file():
        raise UserError(
            f"{path / TORCH}: is a PyTorch pickle, which is not supported; with PyTorch, save it as safetensors: "
            "`AutoModel.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)`"
        )
    values = read_values(path / _CONFIG)
    tensors = read_safetensors(path / SAFETENSORS)
    if any(_PADDLE_NAME.fullmatch(name) for name in tensors):
        renamed = from_paddlenlp(tensors)
        renamed.notes.append("the names are PaddleNLP's, so nothing was transposed")
    else:
        before = Renamed()
        renamed = rename_hf(floats_only(tensors, before))
        renamed.left_out |= before.left_out
        renamed.notes += before.notes
    family = family_of(values, tensors)
    config, notes = read_config(path / _CONFIG, family, renamed.arrays, layer_norm_eps)
    head = find_head(values, renamed.arrays, renamed.sources)
    found = renamed.weights(path, HF, config, notes, head)
    return with_tokenizer(found, (path,), vocab)


def write_hf(folder: Path, weights: Weights, family: str) -> None:
    """Write a folder that `from_pretrained` of the family's classes reads.

    Raises:
        UserError: The family has no such encoder.
    """
    write_json(folder / _CONFIG, config_values(weights, family, "ForPreTraining"))
    tensors = to_hf_tensors(weights.arrays, family, weights.head.hf_name if weights.head else "classifier")
    save_file(tensors, folder / SAFETENSORS, metadata={"format": "pt"})
    if weights.tokenizer is not None:
        write_vocabulary(folder, weights.tokenizer)
