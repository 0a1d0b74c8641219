"""The start of a fine-tuning run: a model directory, released weights, or random weights of a named size."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray

from ernie_paddle.checkpoints.detect import foreign_layout
from ernie_paddle.checkpoints.layouts import LAYOUTS, open_model_folder
from ernie_paddle.checkpoints.model_dir import PARAMETERS, ModelDir, open_model_dir
from ernie_paddle.checkpoints.shapes import Comparison
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.yaml_configs import configs_dir
from propeller.errors import UserError
from propeller.learner import LoadReport
from propeller.run import checkpoint
from propeller.settings import unknown_name
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

SIZES = {"tiny": "tiny", "small": "ernie2_small_en", "base": "ernie2_base_en", "large": "ernie2_large_en"}
_USUAL_PIECES = 30522


@dataclass(frozen=True)
class Start:
    """Configuration, tokenizer and weights (None: random); a name that identifies them, and a description."""

    config: ErnieConfig
    tokenizer: Tokenizer
    arrays: dict[str, NDArray[Any]] | None
    name: str
    description: str


def start_from_model(path: str | Path) -> Start:
    """Load the weights of a checkpoint (pre-trained or fine-tuned), or released weights in another project's layout.

    Raises:
        UserError: There is no model, it is exported, or released weights do not fit their configuration.
    """
    if foreign_layout(path):
        return _start_from_release(Path(path))
    model = open_model_dir(path)
    return Start(model.config, model.tokenizer, model.parameters(), _identity(model), f"weights of {model.path}")


def model_identity(path: str | Path) -> tuple[ErnieConfig, str]:
    """The configuration of a checkpoint or of released weights, and the identity of the weights.

    Raises:
        UserError: As for `start_from_model`.
    """
    if foreign_layout(path):
        start = _start_from_release(Path(path))
        return start.config, start.name
    model = open_model_dir(path)
    return model.config, _identity(model)


def _identity(model: ModelDir) -> str:
    manifest = model.path / checkpoint.MANIFEST
    if manifest.is_file():
        name = json.loads(manifest.read_text(encoding="utf-8"))["files"][PARAMETERS]["sha256"]
    else:
        name = checkpoint.sha256_file(model.path / PARAMETERS)
    return f"sha256:{name[:16]}"


def _start_from_release(path: Path) -> Start:
    weights = open_model_folder(path)
    Comparison.of(weights).require_whole(weights)
    if weights.tokenizer is None:
        raise UserError(
            f"{path}: has no readable vocabulary; add one with "
            f"`ernie convert --from {path} --vocab FILE --to NEW_FOLDER`"
        )
    said = f"weights of {path}, in the layout of {LAYOUTS[weights.layout].title}"
    notes = "".join(f"; {note}" for note in weights.notes)
    return Start(weights.config, weights.tokenizer, weights.arrays, f"sha256:{weights.digest()[:16]}", said + notes)


def architecture(size: str, vocab_size: int | None = None) -> ErnieConfig:
    """The architecture of a size: tiny, small, base, large, or the name of a file in configs/arch.

    Args:
        size: Name of the size.
        vocab_size: Size of the vocabulary; None: that of the file, if it has one.

    Raises:
        UserError: There is no such size.
    """
    folder = configs_dir() / "arch"
    path = folder / f"{SIZES.get(size, size)}.yaml"
    if not path.is_file():
        raise unknown_name("size", size, [*SIZES, *(file.stem for file in folder.glob("*.yaml"))], "--size")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    pieces = vocab_size or values["vocab_size"] or _USUAL_PIECES
    return ErnieConfig.from_dict({**values, "vocab_size": pieces}, str(path))


def start_at_random(size: str, vocab: str | Path | None) -> Start:
    """Start from random weights of a size, as in `architecture`.

    Raises:
        UserError: There is no such size, or no vocabulary is given.
    """
    if vocab is None:
        raise UserError("without --model, --vocab is needed: a vocabulary file, or a folder that holds a tokenizer")
    tokenizer = load_tokenizer(Path(vocab))
    config = dataclasses.replace(architecture(size, tokenizer.vocab.size), pad_token_id=tokenizer.vocab.pad)
    said = f"WARNING: no --model given: the encoder starts from RANDOM weights of size {size!r}; it is not pre-trained"
    return Start(config, tokenizer, None, f"random:{size}", said)


def with_dropout(config: ErnieConfig, rate: float) -> ErnieConfig:
    """The configuration with this dropout rate of hidden layers, attention and the head."""
    return dataclasses.replace(config, hidden_dropout_prob=rate, attention_probs_dropout_prob=rate)


def describe_load(report: LoadReport) -> list[str]:
    """Lines that describe which of the given weights were loaded.

    Raises:
        UserError: A parameter of the encoder is missing or has another shape, so that the model would be half random.
    """
    wrong = [name for name in report.missing if name.startswith("ernie.")]
    shapes = [item for item in report.mismatched if item[0].startswith("ernie.")]
    if shapes:
        name, wanted, found = shapes[0]
        raise UserError(f"the checkpoint's {name} has shape {found}, but the configuration requires {wanted}")
    if wrong and not all("pooler" in name for name in wrong):
        raise UserError(f"the checkpoint lacks {len(wrong)} parameters of the encoder ({', '.join(wrong[:3])}, …)")
    fresh = report.missing + [name for name, _, _ in report.mismatched]
    lines = [f"{len(report.matched)} parameters loaded"]
    if fresh:
        lines.append(f"newly initialised: {_named(fresh)}")
    if report.unexpected:
        lines.append(f"in the checkpoint but not in this model: {_named(report.unexpected)}")
    return lines


def _named(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
