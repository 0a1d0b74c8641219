"""Detection of the layout of a folder of weights, by its files."""

from __future__ import annotations

import json
from pathlib import Path

OURS, HF, PADDLENLP, STATIC = "ours", "hf", "paddlenlp", "static"
SAFETENSORS, TORCH, PDPARAMS, PARAMS = "model.safetensors", "pytorch_model.bin", "model_state.pdparams", "params"
_FIRST_VARIABLE = "word_embedding"


def find_pdparams(path: Path) -> Path | None:
    """PaddleNLP's file of weights: `model_state.pdparams`, or the only file with this extension."""
    if (path / PDPARAMS).is_file():
        return path / PDPARAMS
    found = sorted(path.glob("*.pdparams"))
    return found[0] if len(found) == 1 else None


def find_variables(path: Path) -> Path | None:
    """The folder with one file for each variable: `params`, or the folder itself."""
    for folder in (path / PARAMS, path):
        if (folder / _FIRST_VARIABLE).is_file():
            return folder
    return None


def foreign_layout(path: str | Path) -> str | None:
    """The layout of weights of another project; None for our own layout or no weights at all."""
    path = Path(path)
    if (path / SAFETENSORS).is_file() and _names_its_class(path / "config.json"):
        return HF
    if find_pdparams(path):
        return PADDLENLP
    if find_variables(path):
        return STATIC
    return HF if (path / TORCH).is_file() else None


def _names_its_class(config: Path) -> bool:
    """Whether a configuration names the class of a library, which our own configurations do not."""
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and bool({"model_type", "architectures"} & set(values))
