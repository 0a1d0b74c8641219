"""A small encoder with heads and random weights, and what a release of it looks like in each layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ernie_paddle.checkpoints.shapes import encoder_shapes, head_shapes
from ernie_paddle.checkpoints.weights import Weights
from ernie_paddle.models.config import ErnieConfig
from propeller.values import Arrays
from reader.tokenizers.load import load_tokenizer

CONFIG = ErnieConfig(
    vocab_size=30,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=9,
    type_vocab_size=4,
    task_type_vocab_size=3,
    use_task_id=True,
    layer_norm_eps=1e-5,
)
PIECES = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *(f"w{i}" for i in range(20))]


def random_arrays(config: ErnieConfig = CONFIG, heads: bool = True, seed: int = 0) -> Arrays:
    """Weights under our names: the encoder, and the pooler and both pre-training heads."""
    rng = np.random.default_rng(seed)
    shapes = encoder_shapes(config)
    for found in head_shapes(config).values() if heads else ():
        shapes |= found
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_vocab(folder: Path, pieces: list[str] = PIECES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.txt"
    path.write_text("".join(piece + "\n" for piece in pieces))
    return path


def weights(folder: Path, config: ErnieConfig = CONFIG, family: str = "ernie", **arrays: np.ndarray) -> Weights:
    """Random weights with their vocabulary; `arrays` are added to them."""
    every = {**random_arrays(config), **arrays}
    tokenizer = load_tokenizer(write_vocab(folder))
    return Weights(
        folder, "ours", replace(config, family=family), every, {name: name for name in every}, tokenizer=tokenizer
    )


def write_config(path: Path, config: ErnieConfig = CONFIG, **changes: object) -> None:
    """A configuration with other keys; those that are None are left out."""
    values = {**config.to_dict(), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
