"""Folders of the static releases of ERNIE 1.0 and 2.0: `params/` with a file for each variable, `ernie_config.json`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ernie_paddle.checkpoints.config_files import read_config
from ernie_paddle.checkpoints.detect import PARAMS, STATIC, find_variables
from ernie_paddle.checkpoints.heads import find_head
from ernie_paddle.checkpoints.paddle_names import from_static, ours_to_static
from ernie_paddle.checkpoints.tensor_file import read_tensor, write_tensor
from ernie_paddle.checkpoints.vocabulary import with_tokenizer, write_vocabulary
from ernie_paddle.checkpoints.weights import Weights
from propeller.errors import UserError
from propeller.run.checkpoint import write_json

_CONFIG = "ernie_config.json"
_OTHER_FILES = (_CONFIG, "vocab.txt", "tokenizer_config.json", "__model__")


def read_static(path: Path, vocab: Path | None, layer_norm_eps: float | None) -> Weights:
    """Read a folder; the configuration and the vocabulary lie in it, or next to it if the folder is `params` itself.

    Raises:
        UserError: A file is missing or damaged, or does not describe an encoder.
        DataError: The vocabulary is unusable.
    """
    variables = find_variables(path)
    assert variables is not None
    folders = (path,) if variables != path else (path, path.parent)
    file = next((folder / _CONFIG for folder in folders if (folder / _CONFIG).is_file()), path / _CONFIG)
    names = sorted(entry.name for entry in variables.iterdir() if entry.is_file() and entry.name not in _OTHER_FILES)
    renamed = from_static({name: read_tensor(variables / name) for name in names})
    config, notes = read_config(file, "ernie", renamed.arrays, layer_norm_eps)
    head = find_head({}, renamed.arrays, renamed.sources)
    found = renamed.weights(path, STATIC, config, notes, head)
    return with_tokenizer(found, folders, vocab)


def write_static(folder: Path, weights: Weights, family: str) -> None:
    """Write a folder in the format of the releases.

    Raises:
        UserError: The releases have no such encoder (ERNIE-M).
    """
    if weights.config.position_offset or family == "ernie_m":
        raise UserError("the static releases do not support ERNIE-M; use --format hf or paddlenlp")
    write_json(folder / _CONFIG, replace(weights.config, family="ernie").to_dict())
    (folder / PARAMS).mkdir()
    classifier = weights.head.static_name if weights.head else "cls_out"
    for name, array in weights.arrays.items():
        write_tensor(folder / PARAMS / ours_to_static(name, classifier), array)
    if weights.tokenizer is not None:
        write_vocabulary(folder, weights.tokenizer)
