"""Vectors of texts from any model: pre-trained or fine-tuned, a checkpoint or exported.

Shape suffixes: R texts, B texts of a batch, T length, H hidden.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.checkpoints.model_dir import ModelDir
from ernie_paddle.finetune.networks.pooling import POOLINGS, pool, unit
from ernie_paddle.models.inputs import TEXT_INPUTS
from propeller.errors import UserError
from propeller.graph.spec import ProgramSpec
from reader.batches.epochs import evaluation_batches
from reader.batches.rows import Encoded, pad_rows

_TASK = "embed"


@dataclass(frozen=True)
class TextVectors:
    """Makes vectors of texts with a model.

    Attributes:
        pooling: One of POOLINGS.
        layer: 0 for the embeddings, n for the n-th block.
        width: Width of a vector.
        unit: Whether vectors have length 1.
        run: Maps the inputs of a batch to float32 [B, H].
    """

    pooling: str
    layer: int
    width: int
    unit: bool
    run: Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]

    def of(self, encoded: Encoded, pad_id: int, batch_rows: int) -> NDArray[np.float32]:
        """The vectors of these texts, in their order: float32 [R, H]; batches hold texts of similar length."""
        vectors = np.empty((len(encoded), self.width), np.float32)
        for rows in evaluation_batches(encoded.lengths, batch_rows):
            vectors[rows] = self.run(pad_rows(encoded, rows, pad_id))
        return np.asarray(unit(vectors)) if self.unit else vectors


def own_pooling(model: ModelDir) -> str | None:
    """The pooling with which a model was trained to compare texts; None for other models."""
    settings = model.task_settings or {}
    return str(settings["pooling"]) if "pooling" in settings else None


def text_vectors(model: ModelDir, pooling: str | None, layer: int | None, normalize: bool) -> TextVectors:
    """Prepare the vectors of a model.

    Args:
        model: Any model.
        pooling: One of POOLINGS; None for that of a retrieval model, else the mean.
        layer: 0 for the embeddings, n for the n-th block, negative numbers count from the end; None for the last.
        normalize: Whether to scale vectors to length 1; vectors of a retrieval model always have length 1.

    Raises:
        UserError: There is no such layer, or an exported model does not provide it.
    """
    last, own = model.config.num_hidden_layers, own_pooling(model)
    pooling = pooling or own or POOLINGS[0]
    number = last if layer is None else layer if layer >= 0 else last + 1 + layer
    if not 0 <= number <= last:
        raise UserError(
            f"--layer {layer}: this model has {last} layers; give 0 (embeddings) to {last}, or -1 to {-last}"
        )
    if model.kind == "exported":
        if number != last:
            raise UserError(f"{model.path}: an exported model only provides its last layer; give the checkpoint")
        run = _exported(model, pooling)
    else:
        run = _checkpoint(model, pooling, number)
    return TextVectors(pooling, number, model.config.hidden_size, normalize or own is not None, run)


def _checkpoint(model: ModelDir, pooling: str, layer: int) -> Callable[..., NDArray[np.float32]]:
    from ernie_paddle.finetune.networks.layers import encode
    from ernie_paddle.models.encoder import Encoder
    from propeller.graph.optim import OptimizerConfig
    from propeller.learner import Learner

    # Blocks above the layer are not built, to save time.
    config = dataclasses.replace(model.config, num_hidden_layers=max(1, layer))

    def outputs(encoder: Encoder, values: Mapping[str, Any]) -> dict[str, Any]:
        hidden_BTH = encode(encoder, values, keep_all_hidden=True).all_hidden[layer]
        return {"vectors": pool(hidden_BTH, values["attention_mask"], pooling)}

    learner = Learner(OptimizerConfig(), seed=0)
    learner.add(ProgramSpec(_TASK, TEXT_INPUTS, lambda: Encoder(config, add_pooler=False), outputs))
    report = learner.load_parameters(model.parameters())
    if not report.complete:
        wrong = [*report.missing, *(name for name, _, _ in report.mismatched)]
        raise UserError(
            f"{model.path}: {len(wrong)} parameters are missing or have another shape ({', '.join(wrong[:3])})"
        )
    return lambda batch: np.asarray(learner.infer(_TASK, batch)["vectors"])


def _exported(model: ModelDir, pooling: str) -> Callable[..., NDArray[np.float32]]:
    from propeller.serving.predictor import Predictor

    predictor = Predictor(model.path)
    own = own_pooling(model)
    if own is not None:
        if pooling != own:
            raise UserError(f"{model.path}: exported with pooling {own}; give the checkpoint")
        return lambda batch: np.asarray(predictor.run(batch)["vectors"])
    if "hidden" not in predictor.outputs:
        raise UserError(
            f"{model.path}: this exported model outputs {', '.join(predictor.outputs)} and no vectors of texts; "
            "give the checkpoint that it was made from"
        )

    def run(batch: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        hidden_BTH = predictor.run(batch)["hidden"]
        if pooling == "cls":
            return np.asarray(hidden_BTH[:, 0])
        real_BT1 = batch["attention_mask"][..., None].astype(np.float32)
        return np.asarray((hidden_BTH * real_BT1).sum(axis=1) / real_BT1.sum(axis=1))

    return run
