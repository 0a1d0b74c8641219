"""The fine-tuning heads and their losses against Hugging Face's outputs of the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from ernie_paddle.models.encoder import Encoder, EncoderOutput
from ernie_paddle.models.heads import PooledClassifier, TokenClassifier, choice_logits, span_logits
from ernie_paddle.models.losses import (
    IGNORE,
    correct_sum,
    cross_entropy_sum,
    sigmoid_cross_entropy_sum,
    squared_error_sum,
)
from helpers.model_harness import Golden, largest_difference, run_static

TOLERANCE = 1e-5


def _encode(golden: Golden, fed: dict[str, Any], add_pooler: bool = True) -> EncoderOutput:
    encoder = Encoder(golden.config, add_pooler=add_pooler)
    ids, segments = fed["input_ids"], fed.get("token_type_ids")
    return encoder(ids, segments, attention_mask=fed["attention_mask"])


def _run(golden: Golden, inputs: dict[str, np.ndarray], head: Any) -> dict[str, np.ndarray]:
    return run_static(lambda fed: head(golden, fed), inputs, golden.parameters)


def _pooled(golden: Golden, fed: dict[str, Any]) -> Any:
    return PooledClassifier(golden.config, golden.values.get("num_labels", 1))(_encode(golden, fed))


@pytest.mark.parametrize(
    ("folder", "case"), [("bert/bert_seqcls", "a"), ("bert/bert_seqcls", "b"), ("ernie_m/ernie_m_seqcls", "a")]
)
def test_sequence_classification(test_data: Path, folder: str, case: str) -> None:
    golden = Golden(test_data / "golden/models" / folder)
    inputs, expected = golden.inputs(case), golden.outputs(case)

    def head(golden: Golden, fed: dict[str, Any]) -> dict[str, Any]:
        logits = _pooled(golden, fed)
        loss, hits = cross_entropy_sum(logits, fed["labels"]), correct_sum(logits, fed["labels"])
        return {"logits": logits, "loss": loss, "hits": hits}

    results = _run(golden, inputs, head)
    assert largest_difference(results["logits"], expected["logits"]) < TOLERANCE
    assert abs(results["loss"] / len(inputs["labels"]) - expected["loss"][0]) < TOLERANCE
    assert results["hits"] == (expected["logits"].argmax(-1) == inputs["labels"]).sum()


def test_regression(test_data: Path) -> None:
    golden = Golden(test_data / "golden/models/bert/bert_regression")
    inputs, expected = golden.inputs("a"), golden.outputs("a")

    def head(golden: Golden, fed: dict[str, Any]) -> dict[str, Any]:
        logits = PooledClassifier(golden.config, 1)(_encode(golden, fed))
        return {"logits": logits, "loss": squared_error_sum(logits.squeeze(-1), fed["labels"])}

    results = _run(golden, inputs, head)
    assert largest_difference(results["logits"], expected["logits"]) < TOLERANCE
    # The squared error is about 20 here, so the tolerance of losses is taken relative to it.
    assert results["loss"] / len(inputs["labels"]) == pytest.approx(expected["f64.loss"][0], rel=2e-6, abs=TOLERANCE)


def test_multi_label_classification(test_data: Path) -> None:
    golden = Golden(test_data / "golden/models/bert/bert_multilabel")
    inputs, expected = golden.inputs("a"), golden.outputs("a")

    def head(golden: Golden, fed: dict[str, Any]) -> dict[str, Any]:
        logits = _pooled(golden, fed)
        return {"logits": logits, "loss": sigmoid_cross_entropy_sum(logits, fed["labels"])}

    results = _run(golden, inputs, head)
    assert largest_difference(results["logits"], expected["logits"]) < TOLERANCE
    assert abs(results["loss"] / inputs["labels"].size - expected["loss"][0]) < TOLERANCE


def test_token_classification(test_data: Path) -> None:
    golden = Golden(test_data / "golden/models/bert/bert_tokcls")
    inputs, expected = golden.inputs("a"), golden.outputs("a")

    def head(golden: Golden, fed: dict[str, Any]) -> dict[str, Any]:
        logits = TokenClassifier(golden.config, golden.values["num_labels"])(_encode(golden, fed, add_pooler=False))
        loss, hits = cross_entropy_sum(logits, fed["labels"]), correct_sum(logits, fed["labels"])
        return {"logits": logits, "loss": loss, "hits": hits}

    results = _run(golden, inputs, head)
    labels = inputs["labels"]
    assert largest_difference(results["logits"], expected["logits"], inputs["attention_mask"]) < TOLERANCE
    assert (labels == IGNORE).any()
    assert abs(results["loss"] / (labels != IGNORE).sum() - expected["loss"][0]) < TOLERANCE
    assert results["hits"] == (expected["logits"].argmax(-1) == labels).sum()


@pytest.mark.parametrize(
    ("folder", "case"), [("bert/bert_qa", "a"), ("bert/bert_qa", "b"), ("ernie_m/ernie_m_qa", "a")]
)
def test_spans(test_data: Path, folder: str, case: str) -> None:
    golden = Golden(test_data / "golden/models" / folder)
    inputs, expected = golden.inputs(case), golden.outputs(case)
    length = inputs["input_ids"].shape[1]
    for key in ("start_positions", "end_positions"):  # an answer outside the window is no label
        inputs[key] = np.where(inputs[key] < length, inputs[key], IGNORE)

    def head(golden: Golden, fed: dict[str, Any]) -> dict[str, Any]:
        out = _encode(golden, fed, add_pooler=False)
        start, end = span_logits(TokenClassifier(golden.config, 2)(out))
        return {
            "start_logits": start,
            "end_logits": end,
            "start_loss": cross_entropy_sum(start, fed["start_positions"]),
            "end_loss": cross_entropy_sum(end, fed["end_positions"]),
        }

    results = _run(golden, inputs, head)
    for key in ("start_logits", "end_logits"):
        assert largest_difference(results[key], expected[key], inputs["attention_mask"]) < TOLERANCE
    counts = [(inputs[key] != IGNORE).sum() for key in ("start_positions", "end_positions")]
    loss = (results["start_loss"] / counts[0] + results["end_loss"] / counts[1]) / 2
    assert abs(loss - expected["loss"][0]) < TOLERANCE


def test_multiple_choice(test_data: Path) -> None:
    golden = Golden(test_data / "golden/models/bert/bert_multiplechoice")
    inputs, expected = golden.inputs("a"), golden.outputs("a")
    n_choices = inputs["input_ids"].shape[1]

    def head(golden: Golden, fed: dict[str, Any]) -> dict[str, Any]:
        rows = {k: v if k == "labels" else paddle.flatten(v, 0, 1) for k, v in fed.items()}
        logits = choice_logits(PooledClassifier(golden.config, 1)(_encode(golden, rows)), n_choices)
        return {"logits": logits, "loss": cross_entropy_sum(logits, fed["labels"])}

    results = _run(golden, inputs, head)
    assert largest_difference(results["logits"], expected["logits"]) < TOLERANCE
    assert abs(results["loss"] / len(inputs["labels"]) - expected["loss"][0]) < TOLERANCE
