"""The table of layouts of weights, and functions to open and write a folder of any layout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ernie_paddle.checkpoints import detect
from ernie_paddle.checkpoints.heads import CHOICE
from ernie_paddle.checkpoints.hf import read_hf, write_hf
from ernie_paddle.checkpoints.model_dir import NoModelError
from ernie_paddle.checkpoints.ours import read_ours, write_ours
from ernie_paddle.checkpoints.paddlenlp import read_paddlenlp, write_paddlenlp
from ernie_paddle.checkpoints.static_release import read_static, write_static
from ernie_paddle.checkpoints.weights import Weights
from propeller.errors import UserError


@dataclass(frozen=True)
class Layout:
    """A layout: its title, and the functions (folder, vocabulary or None, epsilon or None) -> weights and (folder,
    weights, family) to read and write it."""

    title: str
    read: Callable[[Path, Path | None, float | None], Weights]
    write: Callable[[Path, Weights, str], None]


LAYOUTS: dict[str, Layout] = {
    detect.OURS: Layout("an ernie-paddle checkpoint", read_ours, write_ours),
    detect.HF: Layout("Hugging Face (model.safetensors)", read_hf, write_hf),
    detect.PADDLENLP: Layout("PaddleNLP (model_state.pdparams)", read_paddlenlp, write_paddlenlp),
    detect.STATIC: Layout("a static release (a file for each variable)", read_static, write_static),
}


def open_model_folder(path: Path, vocab: Path | None = None, layer_norm_eps: float | None = None) -> Weights:
    """Open the weights in a folder of any layout.

    Args:
        path: The folder.
        vocab: A vocabulary that replaces the one in the folder.
        layer_norm_eps: Epsilon of every LayerNorm, if the configuration does not state it.

    Raises:
        UserError: There are no weights, or they are unusable.
        DataError: The vocabulary is unusable.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such folder" if not path.exists() else f"{path}: not a folder; give its folder")
    layout = detect.foreign_layout(path) or detect.OURS
    try:
        return LAYOUTS[layout].read(path, vocab, layer_norm_eps)
    except NoModelError:
        known = "; ".join(f"{key}: {layout.title}" for key, layout in LAYOUTS.items())
        raise UserError(f"{path}: no weights in a layout that is known ({known})") from None


def left_behind(weights: Weights, layout: str) -> list[str]:
    """Sentences about the parts of these weights that the layout cannot hold."""
    said = []
    if weights.head is not None and layout == detect.STATIC:
        if weights.head.labels:
            said.append(f"the names of the {len(weights.head.labels)} classes are not written")
        if weights.head.kind == CHOICE:
            said.append("the static releases have no multiple choice; the head is named like a classifier of texts")
    if weights.tokenizer is None:
        said.append("no vocabulary is written")
    if layout == detect.HF and weights.config.use_task_id and weights.config.default_task_id:
        said.append(f"Hugging Face's classes use task_type_ids 0; pass {weights.config.default_task_id} instead")
    if layout == detect.STATIC and weights.config.layer_norm_eps != 1e-5:
        said.append("the programs of the static releases compute with layer_norm_eps 1e-5, whatever is configured")
    return said


def write_model_folder(path: Path, weights: Weights, layout: str, family: str | None = None) -> None:
    """Write weights into a new folder, completely or not at all.

    Args:
        path: The folder; it must not exist, or be empty.
        weights: The weights to write.
        layout: A key of `LAYOUTS`.
        family: Prefix of the names; that of the weights by default.

    Raises:
        UserError: The folder is not empty, or the layout cannot hold these weights.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: exists already; name a new folder, or remove it first")
    if weights.only_ours is not None and layout != detect.OURS:
        raise UserError(f"{weights.path}: {weights.only_ours}; only --format ours can hold it")
    aside = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    aside.mkdir(parents=True)
    try:
        LAYOUTS[layout].write(aside, weights, family or weights.config.family)
        os.replace(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
