"""The losses of the objectives on labelled pairs, recomputed with NumPy from the encoder's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import propeller  # noqa: F401  (applies the process settings before Paddle is imported)
from ernie_paddle.models.inputs import encoder_feeds
from helpers.pair_corpora import prepared, reader_of

# isort: split
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.pretraining.model import PretrainingModel, build_task
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner


@pytest.mark.parametrize(
    ("name", "settings", "classes"),
    [("discourse_relation", {"weight": 2.0}, 3), ("ir_relevance", {"strong": "x", "weak": "y", "none": "z"}, 3)],
)
def test_losses_are_those_of_numpy(tmp_path: Path, name: str, settings: dict[str, Any], classes: int) -> None:
    path = prepared(tmp_path, [((i, i + 1, 3), (2, i), "xyz"[i % 3]) for i in range(24)])
    reader = reader_of([path], {name: settings}, batch_rows=12)
    config = ErnieConfig(
        vocab_size=reader.data.vocab.size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=40, type_vocab_size=2,
        use_task_id=False, initializer_range=0.3,
    )  # fmt: skip
    task = build_task("pairs", reader.objectives, config, max_length=40)
    encode = ProgramSpec(
        "encode",
        task.inputs,
        lambda: PretrainingModel(config, reader.objectives),
        lambda model, feeds: {
            "hidden": model.encoder(**encoder_feeds(feeds)).hidden_BTH,
            "all": sum(v.sum() for v in feeds.values()),
        },
    )
    learner = Learner(OptimizerConfig(), seed=0)
    learner.add(task)
    learner.add(encode)
    (feeds,) = reader.step(0).micro_batches
    measured = learner.evaluate("pairs", [feeds])
    first_BH = learner.infer("encode", feeds)["hidden"][:, 0].astype(np.float64)
    p = learner.parameters()
    pooled_BH = np.tanh(first_BH @ p["ernie.pooler.dense.weight"] + p["ernie.pooler.dense.bias"])
    logits_BK = pooled_BH @ p[f"cls.{name}.weight"] + p[f"cls.{name}.bias"]
    assert logits_BK.shape == (12, classes)
    labels_B = feeds[f"{name}_labels"]
    assert (labels_B >= 0).all()
    losses_B = np.log(np.exp(logits_BK).sum(1)) - logits_BK[np.arange(12), labels_B]
    assert measured[name] == pytest.approx(losses_B.mean(), abs=2e-5)
    assert measured["loss"] == pytest.approx(settings.get("weight", 1.0) * losses_B.mean(), abs=5e-5)
    assert measured[f"{name}_accuracy"] == pytest.approx((logits_BK.argmax(1) == labels_B).mean(), abs=1e-6)
    assert measured[f"{name}_count"] == 12
