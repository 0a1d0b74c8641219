"""Model directories: a checkpoint, the output folder of a run (its best checkpoint), or an exported model.

All of them hold `config.json` (the encoder), the tokenizer's files, and for a fine-tuned model `task.json`. A
checkpoint holds the parameters in `model.safetensors`; an exported model holds Paddle Inference's files.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ernie_paddle.checkpoints.detect import foreign_layout
from ernie_paddle.checkpoints.origin import read_origin
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError
from propeller.run import checkpoint
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

CONFIG = "config.json"
TASK = "task.json"
PARAMETERS = "model.safetensors"
EXPORTED = "model.pdiparams"


class NoModelError(UserError):
    """A directory holds no model."""


@dataclass(frozen=True)
class ModelDir:
    """An opened model directory.

    Attributes:
        path: The directory.
        kind: Whether it holds a checkpoint or an exported model.
        config: The architecture of the encoder.
        tokenizer: The tokenizer with which the model was trained.
        task_settings: Settings of the task for which the model was fine-tuned, as plain data; None for a model that was
            only pre-trained.
    """

    path: Path
    kind: Literal["checkpoint", "exported"]
    config: ErnieConfig
    tokenizer: Tokenizer
    task_settings: Mapping[str, Any] | None

    def require_task_settings(self) -> Mapping[str, Any]:
        """The settings of the task of a fine-tuned model.

        Raises:
            UserError: The model was never fine-tuned, or was fine-tuned in another project, so that its task is not
                known.
        """
        if self.task_settings is None:
            origin = read_origin(self.path)
            if origin is not None and (origin[1].head is not None or origin[1].only_ours is not None):
                raise UserError(
                    f"{self.path}: this converted model has a classifier, but its task is unknown (no {TASK}: "
                    "neither labels nor columns); run `ernie finetune` on it first, or use the model it was made from"
                )
            raise UserError(
                f"{self.path}: this model is pre-trained only (no {TASK}); run `ernie finetune` on it first"
            )
        return self.task_settings

    def parameters(self) -> dict[str, NDArray[Any]]:
        """All parameters by name.

        Raises:
            UserError: The model is exported (its parameters are inside the program), or a file is damaged.
        """
        if self.kind == "exported":
            raise UserError(f"{self.path}: an exported model cannot be trained or exported again; give its checkpoint")
        try:
            arrays: dict[str, NDArray[Any]] = load_file(self.path / PARAMETERS)
        except (SafetensorError, FileNotFoundError) as error:
            raise UserError(f"{self.path / PARAMETERS}: cannot be read ({error})") from None
        return arrays


def find_model_dir(path: str | Path) -> Path:
    """Find the model directory of `path`: itself, or the best (else newest intact) checkpoint of a run's output folder.

    Raises:
        UserError: There is no model.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(
            f"{path}: no such directory; give a checkpoint, the output folder of a run or an exported model"
        )
    if (path / EXPORTED).is_file() or (path / checkpoint.MANIFEST).is_file() or (path / PARAMETERS).is_file():
        return path
    for root in (path, path / "checkpoints"):
        marked = checkpoint.best(root)
        if marked is not None:
            return marked[0]
        newest, problems = checkpoint.latest_valid(root)
        if newest is not None:
            return newest
        if problems:
            raise UserError(f"{root}: {problems[0]}")
    raise NoModelError(
        f"{path}: no model in it; expected a checkpoint ({checkpoint.MANIFEST}, {PARAMETERS}), step-… folders, "
        f"or an exported model ({EXPORTED})"
    )


def open_model_dir(path: str | Path) -> ModelDir:
    """Open a model directory; a checkpoint is verified against its hashes.

    Raises:
        UserError: It is not a model directory or holds weights of another project, or a file is damaged or missing.
        DataError: The vocabulary is unusable.
    """
    if foreign_layout(path):
        raise UserError(
            f"{path}: weights of another project; `ernie finetune --model` accepts them directly; for other uses "
            f"convert them with `ernie convert --from {path} --to NEW_FOLDER`"
        )
    found = find_model_dir(path)
    if (found / checkpoint.MANIFEST).is_file():
        checkpoint.verify(found)
    config = ErnieConfig.from_json(found / CONFIG)
    tokenizer = load_tokenizer(found)
    if tokenizer.vocab.size > config.vocab_size:
        raise UserError(
            f"{found}: the vocabulary has {tokenizer.vocab.size} pieces but the model only {config.vocab_size} ids"
        )
    kind: Literal["checkpoint", "exported"] = "exported" if (found / EXPORTED).is_file() else "checkpoint"
    return ModelDir(found, kind, config, tokenizer, _read_task(found / TASK))


def _read_task(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: damaged or of another version ({error!r})") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: damaged or of another version (holds no settings by name)")
    return settings


def model_documents(config: ErnieConfig, task_settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The JSON documents that every model directory holds, by file name."""
    documents: dict[str, Any] = {CONFIG: config.to_dict()}
    if task_settings is not None:
        documents[TASK] = dict(task_settings)
    return documents


@contextmanager
def tokenizer_files(tokenizer: Tokenizer) -> Iterator[dict[str, Path]]:
    """The tokenizer's files by name, to be copied into a model directory inside the block."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        yield {file.name: file for file in sorted(Path(folder).iterdir())}
