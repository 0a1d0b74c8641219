"""The losses of the word-aware objectives, recomputed with NumPy from the encoder's output.

Shape suffixes: B rows, T tokens, H hidden, M masked positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import erf, log_softmax

import propeller  # noqa: F401  (applies the process settings before Paddle is imported)
from ernie_paddle.models.inputs import encoder_feeds
from helpers.objective_corpora import FIRST, Documents, make_vocab, write

# isort: split
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.model import PretrainingModel, build_task
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from reader.prepare.statistics import make_statistics

Array = np.ndarray[Any, Any]
EPSILON = 1e-5
WEIGHTS = {"mlm": 1.0, "token_document": 0.5, "tf": 1.0, "tf_idf": 2.0, "token_length": 0.25, "sbo": 3.0}


def _linear(x: Array, p: Mapping[str, Array], name: str) -> Array:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def _block(x: Array, p: Mapping[str, Array], dense: str, norm: str) -> Array:
    """LayerNorm(gelu(linear(x)))."""
    x = _linear(x, p, dense)
    x = x * 0.5 * (1 + erf(x / np.sqrt(2)))
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
    return x * p[f"{norm}.weight"] + p[f"{norm}.bias"]


def _entropy(logits: Array, labels: Array) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of the labels that are not -100."""
    logits, labels = logits[labels != -100], labels[labels != -100]
    losses = -log_softmax(logits.astype(np.float64), axis=-1)[np.arange(len(labels)), labels]
    return float(losses.mean()), float((logits.argmax(-1) == labels).mean())


def _sbo(hidden_BTH: Array, feeds: Mapping[str, Array], p: Mapping[str, Array]) -> Array:
    """Logits of the boundary objective [M, V]."""
    flat = hidden_BTH.reshape(-1, hidden_BTH.shape[-1])
    places_MH = p["cls.sbo.places.weight"][feeds["sbo_places"]]
    both = np.concatenate([flat[feeds["sbo_left"]], flat[feeds["sbo_right"]], places_MH], axis=-1)
    h_MH = _block(
        _block(both, p, "cls.sbo.boundary", "cls.sbo.boundary_norm"), p, "cls.sbo.transform", "cls.sbo.layer_norm"
    )
    return h_MH @ p["ernie.embeddings.word_embeddings.weight"].T + p["cls.sbo.decoder_bias"]


def test_losses_are_those_of_numpy(tmp_path: Path) -> None:
    docs = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4], [8, 8], [5], [2, 9, 4]] * 3, 3)
    tokens = (FIRST + np.random.default_rng(0).integers(20, size=docs.n_tokens)).tolist()
    path = write(tmp_path, docs, make_vocab(FIRST + 20), tokens)
    make_statistics(path)
    objectives = {name: {"weight": weight} for name, weight in WEIGHTS.items()}
    reader = TaskData("all", objectives, [(path, 1.0)], 24, batch_rows=8, min_tokens=1).open()
    config = ErnieConfig(
        vocab_size=reader.data.vocab.size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=24, type_vocab_size=2,
        use_task_id=False, layer_norm_eps=EPSILON, initializer_range=0.3,
    )  # fmt: skip
    task = build_task("all", reader.objectives, config, max_length=24)
    hidden: Callable[[Any, Any], Any] = lambda model, feeds: {  # noqa: E731
        "hidden": model.encoder(**encoder_feeds(feeds)).hidden_BTH,
        "all": sum(value.astype("float32").sum() for value in feeds.values()),
    }
    learner = Learner(OptimizerConfig(), seed=0)
    learner.add(task)
    learner.add(ProgramSpec("encode", task.inputs, lambda: PretrainingModel(config, reader.objectives), hidden))
    (feeds,) = reader.step(0).micro_batches
    measured = learner.evaluate("all", [feeds])
    hidden_BTH, p = learner.infer("encode", feeds)["hidden"], learner.parameters()

    expected = {}
    for name in ("tf", "tf_idf", "token_length"):
        targets = feeds[f"{name}_labels"]
        errors = (_linear(hidden_BTH, p, f"cls.{name}")[..., 0] - targets)[targets != -100]
        expected[name] = float((errors.astype(np.float64) ** 2).mean())
        assert measured[f"{name}_count"] == len(errors) == (feeds["attention_mask"].sum() - 2 * len(targets))
    for name, logits in (
        ("token_document", _linear(hidden_BTH, p, "cls.token_document")),
        ("sbo", _sbo(hidden_BTH, feeds, p)),
    ):
        expected[name], accuracy = _entropy(logits, feeds[f"{name}_labels"])
        assert measured[f"{name}_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    for name, loss in expected.items():
        assert measured[name] == pytest.approx(loss, rel=2e-5), name
    total = sum(WEIGHTS[name] * loss for name, loss in (expected | {"mlm": measured["mlm"]}).items())
    assert measured["loss"] == pytest.approx(total, rel=2e-5)
