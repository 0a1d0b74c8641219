"""The layouts of weights as a table, and what is done with any of them: open a folder, write one."""

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
    """What it is, and its functions: (folder, vocabulary or None, epsilon or None) -> weights; (folder, weights,
    family)."""

    title: str
    read: Callable[[Path, Path | None, float | None], Weights]
    write: Callable[[Path, Weights, str], None]


LAYOUTS: dict[str, Layout] = {
    detect.OURS: Layout("a checkpoint of ours", read_ours, write_ours),
    detect.HF: Layout("Hugging Face (model.safetensors)", read_hf, write_hf),
    detect.PADDLENLP: Layout("PaddleNLP (model_state.pdparams)", read_paddlenlp, write_paddlenlp),
    detect.STATIC: Layout("a static release (a file for each variable)", read_static, write_static),
}


def open_model_folder(path: Path, vocab: Path | None = None, layer_norm_eps: float | None = None) -> Weights:
    """The weights in a folder of any layout.

    Args:
        path: the folder.
        vocab: a vocabulary that replaces the one in the folder.
        layer_norm_eps: epsilon of every LayerNorm, where the configuration does not state it.

    Raises:
        UserError: no weights there, or unusable ones.
        DataError: an unusable vocabulary.
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
    """Sentences about what the layout does not hold of these weights."""
    said = []
    if weights.head is not None and layout == detect.STATIC:
        if weights.head.labels:
            said.append(f"the names of the {len(weights.head.labels)} classes are not written")
        if weights.head.kind == CHOICE:
            said.append("the static releases know no multiple choice; the head is called like a classifier of texts")
    if weights.tokenizer is None:
        said.append("no vocabulary is written")
    if layout == detect.HF and weights.config.use_task_id and weights.config.default_task_id:
        said.append(f"Hugging Face's classes take task_type_ids 0; give them {weights.config.default_task_id} instead")
    if layout == detect.STATIC and weights.config.layer_norm_eps != 1e-5:
        said.append("the programs of the static releases compute with layer_norm_eps 1e-5, whatever is written")
    return said


def write_model_folder(path: Path, weights: Weights, layout: str, family: str | None = None) -> None:
    """Write weights into a new folder, which is there whole or not at all.

    Args:
        path: the folder; it must not exist, or be empty.
        weights: what to write.
        layout: a key of `LAYOUTS`.
        family: the prefix of the names; that of the weights when left out.

    Raises:
        UserError: the folder holds something, or the layout cannot hold these weights.
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
