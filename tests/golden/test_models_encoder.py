"""The encoder and the pre-training heads against Hugging Face's outputs of the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from ernie_paddle.models import forms
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.heads import MaskedLMHead, PooledClassifier, gather_positions
from ernie_paddle.models.losses import cross_entropy_sum
from helpers.model_harness import Golden, largest_difference, run_eager, run_static

HIDDEN, MLM_LOGITS, OTHER, PROBS = 2e-5, 3e-5, 1e-5, 5e-6
NAMES = {
    "input_ids": "input_ids",
    "token_type_ids": "segment_ids",
    "position_ids": "position_ids",
    "task_type_ids": "task_ids",
    "attention_mask": "attention_mask",
}
FOLDERS = [
    "ernie/ernie_task_gelu_eps1e-12",
    "ernie/ernie_task_relu_eps1e-5",
    "ernie/ernie_notask_gelu_eps1e-5",
    "ernie/ernie_notask_relu_eps1e-12",
    "ernie/ernie_epsprobe_eps1e-12",
    "ernie/ernie_epsprobe_eps1e-5",
    "bert/bert_pretraining",
]
CASES = [(folder, case) for folder in FOLDERS for case in ("a" if "epsprobe" in folder else "abcde")]


class PretrainingModel(paddle.nn.Layer):
    """Encoder, MLM head and NSP head."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.mlm = MaskedLMHead(config, self.encoder.embeddings.word.weight)
        self.nsp = PooledClassifier(config, 2, "cls.seq_relationship")

    def forward(self, fed: dict[str, Any], keep_attention: bool = True) -> dict[str, Any]:
        out = self.encoder(
            **{ours: fed[hf] for hf, ours in NAMES.items() if hf in fed},
            keep_all_hidden=True,
            keep_attention=keep_attention,
        )
        result = {f"hidden_states.{i}": h for i, h in enumerate(out.all_hidden)}
        result |= {f"attentions.{i}": p for i, p in enumerate(out.attention_probs)}
        result["pooler_output"] = out.pooled_BH
        result["seq_relationship_logits"] = self.nsp(out)
        if "positions" in fed:
            result["mlm_logits"] = self.mlm(gather_positions(out.hidden_BTH, fed["positions"]))
        if "next_sentence_label" in fed:
            result["mlm_loss_sum"] = cross_entropy_sum(result["mlm_logits"], fed["masked_labels"])
            result["nsp_loss_sum"] = cross_entropy_sum(result["seq_relationship_logits"], fed["next_sentence_label"])
        return result


def _compare(golden: Golden, case: str, results: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> None:
    expected = golden.outputs(case)
    mask = inputs.get("attention_mask")
    rows = mask if mask is not None and mask.ndim == 2 else None
    n_layers = golden.config.num_hidden_layers
    for i in range(n_layers + 1):
        assert largest_difference(results[f"hidden_states.{i}"], expected[f"hidden_states.{i}"], rows) < HIDDEN
    assert largest_difference(results[f"hidden_states.{n_layers}"], expected["f64.last_hidden_state"], rows) < HIDDEN
    assert largest_difference(results["pooler_output"], expected["pooler_output"]) < OTHER
    assert largest_difference(results["seq_relationship_logits"], expected["seq_relationship_logits"]) < OTHER
    for i in range(n_layers):
        if f"attentions.{i}" in expected and f"attentions.{i}" in results:  # [B, N, T, S] -> [B, T, N, S]
            ours, theirs = (a[f"attentions.{i}"].transpose(0, 2, 1, 3) for a in (results, expected))
            assert largest_difference(ours, theirs, rows) < PROBS


def _case_inputs(golden: Golden, case: str) -> dict[str, np.ndarray]:
    """The case's inputs, and for `a` every labelled position with its label (two extra ones without a label)."""
    inputs = golden.inputs(case)
    labels = inputs.pop("labels", None)
    if labels is not None:
        positions = np.flatnonzero(labels.reshape(-1) != -100)
        inputs["positions"] = np.concatenate([positions, [0, 1]])
        inputs["masked_labels"] = np.concatenate([labels.reshape(-1)[positions], [-100, -100]])
    elif "prediction_logits" in golden.outputs(case):
        mask = inputs.get("attention_mask", np.ones_like(inputs["input_ids"]))
        inputs["positions"] = np.flatnonzero(mask.reshape(-1))
    return inputs


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("folder", "case"), CASES)
def test_encoder_and_heads_equal_hugging_face(test_data: Path, folder: str, case: str, fused: bool) -> None:
    golden = Golden(test_data / "golden/models" / folder)
    inputs = _case_inputs(golden, case)
    expected = golden.outputs(case)

    def build(fed: dict[str, Any]) -> dict[str, Any]:
        # Fused attention has no probabilities to show.
        return PretrainingModel(golden.config)(fed, keep_attention=not fused)

    with forms.force_fused_attention(fused):
        results = run_static(build, inputs, golden.parameters)
    _compare(golden, case, results, inputs)
    if "positions" in inputs:
        logits = expected["prediction_logits"].reshape(-1, golden.config.vocab_size)[inputs["positions"]]
        assert largest_difference(results["mlm_logits"], logits) < MLM_LOGITS
    if "masked_labels" in inputs:
        n_labels = (inputs["masked_labels"] != -100).sum()
        mlm = results["mlm_loss_sum"] / n_labels
        nsp = results["nsp_loss_sum"] / len(inputs["next_sentence_label"])
        assert abs(mlm - expected["f64.mlm_loss"][0]) < OTHER
        assert abs(nsp - expected["f64.nsp_loss"][0]) < OTHER
        assert abs(mlm + nsp - expected["loss"][0]) < OTHER


@pytest.mark.parametrize(("folder", "case"), [("ernie/ernie_task_gelu_eps1e-12", c) for c in "abcde"])
def test_the_same_layers_run_eagerly(test_data: Path, folder: str, case: str) -> None:
    golden = Golden(test_data / "golden/models" / folder)
    inputs = _case_inputs(golden, case)
    with paddle.utils.unique_name.guard():  # an eager parameter name may be taken once per guard
        model = PretrainingModel(golden.config)
    _compare(golden, case, run_eager(model, model, inputs, golden.parameters), inputs)


@pytest.mark.parametrize("case", ["a", "b", "c", "d"])
def test_ernie_m_needs_only_a_configuration(test_data: Path, case: str) -> None:
    golden = Golden(test_data / "golden/models/ernie_m/ernie_m_model")
    assert golden.config.position_offset == 2
    assert golden.config.type_vocab_size == 0
    given = golden.inputs(case)
    real = (given["input_ids"] != golden.config.pad_token_id).astype(np.int64)
    inputs = {"input_ids": given["input_ids"], "attention_mask": given.get("attention_mask", real)}
    if "position_ids_passed" in given:
        inputs["position_ids"] = given["position_ids_passed"]
    expected = golden.outputs(case)

    def build(fed: dict[str, Any]) -> dict[str, Any]:
        out = Encoder(golden.config)(**fed, keep_all_hidden=True)
        return {f"hidden_states.{i}": h for i, h in enumerate(out.all_hidden)} | {"pooler_output": out.pooled_BH}

    results = run_static(build, inputs, golden.parameters)
    for key, result in results.items():
        rows, tolerance = (None, OTHER) if key == "pooler_output" else (inputs["attention_mask"], HIDDEN)
        assert largest_difference(result, expected[key], rows) < tolerance


def test_a_wrong_epsilon_would_be_seen(test_data: Path) -> None:
    """The probe's weights with the other epsilon are far from its outputs, so the probe tests what it says."""
    golden = Golden(test_data / "golden/models/ernie/ernie_epsprobe_eps1e-12")
    other = Golden(test_data / "golden/models/ernie/ernie_epsprobe_eps1e-5")
    inputs = _case_inputs(golden, "a")
    results = run_static(lambda fed: PretrainingModel(other.config)(fed), inputs, golden.parameters)
    last = f"hidden_states.{golden.config.num_hidden_layers}"
    assert largest_difference(results[last], golden.outputs("a")[last], inputs["attention_mask"]) > 0.1
