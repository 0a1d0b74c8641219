"""Multi-flow attention against goldens written from the paper's equations in float64, and against one naive mask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

from ernie_paddle.checkpoints.hf_names import config_from_hf, from_hf, to_hf
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.heads import MaskedLMHead
from ernie_paddle.models.losses import smoothed_cross_entropy
from ernie_paddle.models.multi_flow import FLOWS, SPAN, WORD, encode_flows, target_masks
from helpers.model_harness import largest_difference, run_eager, run_static

HIDDEN, LOGITS, LOSS, GRADIENT = 2e-5, 3e-5, 1e-5, 1e-5


class Multi:
    """The golden model with its inputs, outputs and gradients."""

    def __init__(self, folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        values.pop("special_ids")
        self.config: ErnieConfig = config_from_hf(values)
        self.parameters = from_hf(load_file(folder / "model.safetensors"))
        given = load_file(folder / "multiflow_inputs.safetensors")
        self.given = given
        self.outputs = load_file(folder / "multiflow_outputs_f64.safetensors")
        self.gradients = load_file(folder / "grads_joint_lambda0.5_ls0.1_f64.safetensors")
        self.real = (np.arange(given["target_ids"].shape[1]) < given["target_lengths"][:, None]).astype(np.int64)
        source = np.arange(given["source_ids"].shape[1]) < given["source_lengths"][:, None]
        self.feeds = {
            "source_ids": given["source_ids"],
            "source_segments": given["source_segment_ids"],
            "source_positions": given["source_position_ids"],
            "source_mask": source.astype(np.int64),
            "target_ids": given["noised_target_ids"],
            "target_segments": given["target_segment_ids"],
            "target_positions": given["target_position_ids"],
            "target_mask": self.real,
            "attn_ids": given["attn_ids"],
            "span_starts": given["span_start_of_token"],
            "labels": given["target_ids"],
        }


@pytest.fixture(scope="module")
def golden(test_data: Path) -> Multi:
    return Multi(test_data / "golden" / "models" / "ernie_gen")


class Model(paddle.nn.Layer):
    def __init__(self, config: ErnieConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config, add_pooler=False)
        self.mlm = MaskedLMHead(config, self.encoder.embeddings.word.weight)

    def forward(self, fed: dict[str, Any], smoothing: float = 0.0, flows: tuple[str, ...] = FLOWS) -> dict[str, Any]:
        found = encode_flows(self.encoder, fed, flows, keep_all_layers=True)
        out: dict[str, Any] = {}
        for number, (source, target, vectors) in enumerate(found.all_layers):
            out[f"X.{number}"] = paddle.concat([source, target], axis=1)
            out |= {f"A_{'W' if name == WORD else 'S'}.{number}": each for name, each in vectors.items()}
        real = fed["target_mask"].astype("float32")
        for name in flows:
            out[f"logits_{name}"] = self.mlm(found.flows[name])
            per_token = smoothed_cross_entropy(out[f"logits_{name}"], fed["labels"], smoothing) * real
            out[f"loss.{name}_ls{smoothing:g}_per_token"] = per_token
            out[f"loss.{name}_ls{smoothing:g}"] = per_token.sum() / real.sum()
        return out


def check(found: dict[str, np.ndarray], golden: Multi) -> None:
    source = golden.feeds["source_mask"]
    context = np.concatenate([source, golden.real], axis=1)
    assert len(found) == 3 * 4 + 6
    for name, array in found.items():
        wanted = golden.outputs[name].reshape(array.shape)
        if name.startswith("loss"):
            assert largest_difference(array, wanted) < LOSS, name
        elif name.startswith("logits"):
            assert largest_difference(array, wanted, golden.real) < LOGITS, name
        else:
            assert largest_difference(array, wanted, context if name.startswith("X") else golden.real) < HIDDEN, name


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_vectors_logits_and_losses_of_a_static_program(golden: Multi, smoothing: float) -> None:
    found = run_static(lambda fed: Model(golden.config)(fed, smoothing), golden.feeds, golden.parameters)
    check(found, golden)


def test_the_same_layers_run_eagerly(golden: Multi) -> None:
    paddle.disable_static()
    with paddle.utils.unique_name.guard():
        model = Model(golden.config)
    check(run_eager(model, model, golden.feeds, golden.parameters), golden)


def test_all_gradients_of_the_joint_loss(golden: Multi) -> None:
    """Through all flows, nothing detached; lambda 0.5 and label smoothing 0.1 as in the goldens."""
    paddle.disable_static()
    with paddle.utils.unique_name.guard():
        model = Model(golden.config)
    for parameter in model.parameters():
        parameter.set_value(golden.parameters[parameter.name])
    out = model({name: paddle.to_tensor(array) for name, array in golden.feeds.items()}, 0.1)
    loss = 0.5 * out["loss.word_ls0.1"] + 0.5 * out["loss.span_ls0.1"]
    assert float(loss) == pytest.approx(float(golden.outputs["loss.joint_lambda0.5_ls0.1"][0]), abs=LOSS)
    loss.backward()
    seen = 0
    for parameter in model.parameters():
        gradient = parameter.grad.numpy()
        name = to_hf(parameter.name, "bert")
        is_matrix = gradient.ndim == 2 and "embeddings" not in name
        difference = np.abs((gradient.T if is_matrix else gradient) - golden.gradients[name]).max()
        assert difference < GRADIENT, parameter.name
        seen += 1
    assert seen == 58


def test_masks_are_those_of_the_equations(golden: Multi) -> None:
    fed = golden.feeds
    masks = run_static(
        lambda given: target_masks(given["source_mask"], given["target_mask"], given["span_starts"]),
        {name: fed[name] for name in ("source_mask", "target_mask", "span_starts")},
        {},
    )
    n = fed["source_ids"].shape[1]
    rows = golden.real
    assert largest_difference(masks["context"], golden.given["M_C"][:, n:], rows) == 0
    assert largest_difference(masks[WORD], golden.given["M_W"], rows) == 0
    assert largest_difference(masks[SPAN], golden.given["M_S"], rows) == 0


@pytest.mark.parametrize("flows", [(WORD,), (SPAN,), FLOWS, ()])
def test_equal_to_one_encoder_under_one_mask(golden: Multi, flows: tuple[str, ...]) -> None:
    """The naive form is [S, T', A_W, A_S] as one sequence with a mask over all pairs; flows do not touch each other."""

    def naive(fed: dict[str, Any]) -> dict[str, Any]:
        encoder = Encoder(golden.config, add_pooler=False)
        n_flows = len(flows)
        ids = paddle.concat([fed["source_ids"], fed["target_ids"], *[fed["attn_ids"]] * n_flows], axis=1)
        segments = paddle.concat([fed["source_segments"], *[fed["target_segments"]] * (1 + n_flows)], axis=1)
        positions = paddle.concat([fed["source_positions"], *[fed["target_positions"]] * (1 + n_flows)], axis=1)
        hidden = encoder(ids, segments, positions, attention_mask=fed["mask"]).hidden_BTH
        return {"X": hidden[:, :20]} | {name: hidden[:, 20 + 11 * i : 31 + 11 * i] for i, name in enumerate(flows)}

    b, n, m = len(golden.real), 9, 11
    total = n + m + m * len(flows)
    mask = np.zeros((b, total, total), np.int64)
    mask[:, : n + m, : n + m] = golden.given["M_C"]
    for i, name in enumerate(flows):
        own = slice(n + m + i * m, n + 2 * m + i * m)
        whole = golden.given["M_W" if name == WORD else "M_S"]
        mask[:, own, : n + m], mask[:, own, own] = whole[:, :, : n + m], whole[:, :, n + m :]
    wanted = run_static(naive, {**golden.feeds, "mask": mask}, golden.parameters)

    def structured(fed: dict[str, Any]) -> dict[str, Any]:
        found = encode_flows(Encoder(golden.config, add_pooler=False), fed, flows, keep_context=True)
        return {"X": paddle.concat([found.source_BNH, found.target_BMH], axis=1), **found.flows}

    found = run_static(structured, golden.feeds, golden.parameters)
    context = np.concatenate([golden.feeds["source_mask"], golden.real], axis=1)
    for name, array in found.items():
        assert largest_difference(array, wanted[name], context if name == "X" else golden.real) < 5e-6, name


@pytest.mark.parametrize("flow", FLOWS)
def test_nothing_of_the_future_reaches_a_prediction(golden: Multi, flow: str) -> None:
    """Exactly zero: changing target token k changes no vector of a token that may not see it."""

    def vectors(fed: dict[str, Any]) -> dict[str, Any]:
        return encode_flows(Encoder(golden.config, add_pooler=False), fed, (flow,)).flows

    before = run_static(vectors, golden.feeds, golden.parameters)[flow]
    moved = 0
    for k in range(11):
        ids = golden.feeds["target_ids"].copy()
        ids[:, k] = (ids[:, k] + 7) % 100 + 6
        after = run_static(vectors, {**golden.feeds, "target_ids": ids}, golden.parameters)[flow]
        first = np.arange(11)[None] if flow == WORD else golden.feeds["span_starts"]
        blind = (np.broadcast_to(first, golden.real.shape) <= k) & (golden.real == 1)
        assert np.abs(after - before)[blind].max() == 0
        sighted = (np.broadcast_to(first, golden.real.shape) > k) & (golden.real == 1)
        moved += bool(sighted.any() and np.abs(after - before)[sighted].max() > 1e-4)
    assert moved >= 5
