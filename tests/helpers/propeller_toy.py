"""A tiny task for tests: classify a row of integers by a mean of embeddings, a hidden layer, and a linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import propeller  # noqa: F401  (applies the process settings before Paddle is imported)

# isort: split
import paddle

from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.graph.spec import ProgramSpec

N_SYMBOLS, HIDDEN = 20, 16
IGNORE = -100


def _attr(name: str, std: float = 0.3) -> Any:
    return paddle.ParamAttr(name=name, initializer=paddle.nn.initializer.Normal(std=std))


class Classifier(paddle.nn.Layer):
    """mean of embeddings -> dropout -> linear -> gelu -> LayerNorm -> dropout -> linear."""

    def __init__(self, head: str, classes: int, dropout: float) -> None:
        super().__init__()
        self.embedding = paddle.nn.Embedding(N_SYMBOLS, HIDDEN, weight_attr=_attr("body.embedding.weight"))
        self.hidden = paddle.nn.Linear(
            HIDDEN, HIDDEN, weight_attr=_attr("body.hidden.weight"), bias_attr=_attr("body.hidden.bias", 0.1)
        )
        self.norm = paddle.nn.LayerNorm(
            HIDDEN, weight_attr=paddle.ParamAttr(name="body.norm.weight"), bias_attr=_attr("body.norm.bias", 0.1)
        )
        self.head = paddle.nn.Linear(
            HIDDEN, classes, weight_attr=_attr(f"{head}.weight"), bias_attr=_attr(f"{head}.bias", 0.1)
        )
        self.dropout = paddle.nn.Dropout(dropout)

    def forward(self, x_BT: Any) -> Any:
        mean_BH = self.dropout(self.embedding(x_BT).mean(1))
        hidden_BH = self.norm(paddle.nn.functional.gelu(self.hidden(mean_BH)))
        return paddle.cast(self.head(self.dropout(hidden_BH)), "float32")


def _losses(model: Any, inputs: dict[str, Any]) -> list[LossTerm]:
    logits_BC = model(inputs["x"])
    nll_B = paddle.nn.functional.cross_entropy(logits_BC, inputs["y"], reduction="none", ignore_index=IGNORE)
    # "factor" lets a test blow the gradient up.
    total = (nll_B.reshape([-1]) * inputs["factor"]).sum()
    hits = (paddle.argmax(logits_BC, -1) == inputs["y"]).astype("float32").sum()
    z = paddle.nn.functional.softmax(logits_BC)[:, 0]
    kept = (inputs["z"] > -1).astype("float32")
    return [
        LossTerm("class", total, "y", hits=hits),
        LossTerm("first", (kept * paddle.square(z - inputs["z"])).sum(), "z", weight=0.5),
    ]


INPUTS = (Input("x", (None, None), "int64"), Input("y", (None,), "int64", ignore=IGNORE))


def task(name: str = "toy", *, head: str = "head", classes: int = 3, dropout: float = 0.0) -> ProgramSpec:
    """A task with two loss terms, whose labels are counted apart ("z" is ignored where it is -1)."""
    inputs = (*INPUTS, Input("z", (None,), "float32", ignore=-1.0), Input("factor", (None,), "float32"))
    return ProgramSpec(name, inputs, lambda: Classifier(head, classes, dropout), _losses)


def infer_task(name: str = "guess", *, head: str = "head", classes: int = 3, dropout: float = 0.0) -> ProgramSpec:
    """The same layers; returns the probabilities."""

    def forward(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"probabilities": paddle.nn.functional.softmax(model(inputs["x"]))}

    return ProgramSpec(name, INPUTS[:1], lambda: Classifier(head, classes, dropout), forward)


def batch(number: int, rows: int = 12, classes: int = 3) -> dict[str, np.ndarray]:
    """Rows of a batch, always the same for the same number; some have no label."""
    rng = np.random.default_rng([7, number])
    x = rng.integers(0, N_SYMBOLS, (rows, 6))
    y = x.max(1) % classes
    y[rng.random(rows) < 0.2] = IGNORE
    y[0] = 1
    z = rng.random(rows).astype(np.float32)
    z[rng.random(rows) < 0.4] = -1
    z[-1] = 0.5
    return {"x": x, "y": y, "z": z, "factor": np.ones(rows, np.float32)}


def cut(whole: Mapping[str, np.ndarray], *sizes: int) -> list[dict[str, np.ndarray]]:
    """Consecutive pieces with so many rows; the last one takes what is left."""
    bounds = np.cumsum(sizes)
    parts = {name: np.split(array, bounds) for name, array in whole.items()}
    return [{name: pieces[index] for name, pieces in parts.items()} for index in range(len(bounds) + 1)]
