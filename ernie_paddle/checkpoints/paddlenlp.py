"""Folders of PaddleNLP and of the `develop` branch of ERNIE: a `.pdparams` file, a configuration, `vocab.txt`."""

from __future__ import annotations

from pathlib import Path

from ernie_paddle.checkpoints.config_files import config_values, family_of, read_config, read_values
from ernie_paddle.checkpoints.detect import PADDLENLP, PDPARAMS, find_pdparams
from ernie_paddle.checkpoints.heads import find_head
from ernie_paddle.checkpoints.paddle_names import from_paddlenlp, ours_to_paddlenlp
from ernie_paddle.checkpoints.pdparams import read_pdparams, write_pdparams
from ernie_paddle.checkpoints.vocabulary import with_tokenizer, write_vocabulary
from ernie_paddle.checkpoints.weights import Weights
from propeller.run.checkpoint import write_json

_CONFIGS = ("config.json", "model_config.json", "ernie_config.json")
"""Configuration files of PaddleNLP since 2.4, of PaddleNLP before 2.4, and of the `develop` branch."""


def read_paddlenlp(path: Path, vocab: Path | None, layer_norm_eps: float | None) -> Weights:
    """Read a folder.

    Raises:
        UserError: A file is missing or damaged, holds anything but tensors, or does not describe an encoder.
        DataError: The vocabulary is unusable.
    """
    file = next((path / name for name in _CONFIGS if (path / name).is_file()), path / _CONFIGS[0])
    values = read_values(file)
    parameters = find_pdparams(path)
    assert parameters is not None
    tensors = read_pdparams(parameters)
    renamed = from_paddlenlp(tensors)
    family = family_of(values, tensors)
    config, notes = read_config(file, family, renamed.arrays, layer_norm_eps)
    head = find_head(values, renamed.arrays, renamed.sources)
    found = renamed.weights(path, PADDLENLP, config, notes, head)
    return with_tokenizer(found, (path,), vocab)


def write_paddlenlp(folder: Path, weights: Weights, family: str) -> None:
    """Write a folder that `from_pretrained` of PaddleNLP's classes reads.

    Raises:
        UserError: The family has no such encoder.
    """
    write_json(folder / _CONFIGS[0], config_values(weights, family, "ForPretraining"))
    renamed = {ours_to_paddlenlp(name, family): array for name, array in weights.arrays.items()}
    write_pdparams(folder / PDPARAMS, renamed)
    if weights.tokenizer is not None:
        write_vocabulary(folder, weights.tokenizer)
