"""The feature-based approach: the network on the frozen encoder against NumPy, one text at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ernie_paddle.finetune.networks.feature_sets import FEATURES
from ernie_paddle.finetune.tasks.labelling import Labelling
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.inputs import TEXT_INPUTS
from propeller.errors import UserError
from propeller.graph.optim import OptimizerConfig
from propeller.graph.precision import PrecisionConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner

WIDTH, BLOCKS = 8, 5
CONFIG = ErnieConfig(
    vocab_size=30,
    hidden_size=WIDTH,
    num_hidden_layers=BLOCKS,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.4,
)
LENGTHS = (7, 3, 5)
Floats = NDArray[np.float64]


def labelling(features: str | None) -> Labelling:
    return Labelling(
        text_a=None, label=None, header=True, scheme="iob2", types=("LOC",), align="first", max_length=16,
        doc_stride=7, metric="f1", features=features,
    )  # fmt: skip


def learner_for(task: Labelling, config: ErnieConfig = CONFIG) -> Learner:
    learner = Learner(OptimizerConfig(weight_decay=0.1), seed=5)
    learner.add(ProgramSpec("train", task.inputs(True), lambda: task.layer(config), task.losses))
    learner.add(ProgramSpec("answer", task.inputs(False), lambda: task.layer(config), task.outputs))
    return learner


def batch(padded: int = 0, labelled: bool = False) -> dict[str, NDArray[Any]]:
    """Three rows of random pieces, with more padding if wanted; all but the first and last piece have a label."""
    rng = np.random.default_rng(0)
    longest = max(LENGTHS) + padded
    real = np.arange(longest) < np.array(LENGTHS)[:, None]
    drawn = rng.integers(5, 30, size=(3, max(LENGTHS)))
    ids = np.where(real, np.pad(drawn, ((0, 0), (0, padded))), 0)
    arrays = {"input_ids": ids, "segment_ids": np.zeros_like(ids), "attention_mask": real.astype(np.int64)}
    if labelled:
        inner = real & (np.arange(longest) > 0) & (np.arange(longest) < np.array(LENGTHS)[:, None] - 1)
        arrays["labels"] = np.where(inner, ids % 3, -100)
    return arrays


def all_hidden(parameters: dict[str, Any]) -> list[list[Floats]]:
    """The hidden layers of each row alone: [rows][BLOCKS + 1] of [length, WIDTH]."""
    from ernie_paddle.models.encoder import Encoder

    def outputs(encoder: Encoder, values: dict[str, Any]) -> dict[str, Any]:
        found = encoder(values["input_ids"], values["segment_ids"], keep_all_hidden=True).all_hidden
        return {str(number): value for number, value in enumerate(found)}

    learner = Learner(OptimizerConfig(), seed=0)
    learner.add(ProgramSpec("hidden", TEXT_INPUTS[:2], lambda: Encoder(CONFIG, add_pooler=False), outputs))
    learner.load_parameters(parameters)
    rows = []
    for row, length in enumerate(LENGTHS):
        feed = {name: array[row : row + 1, :length] for name, array in batch().items() if name != "attention_mask"}
        found = learner.infer("hidden", feed)
        rows.append([found[str(number)][0].astype(np.float64) for number in range(BLOCKS + 1)])
    return rows


def lstm(x: Floats, weights: dict[str, Floats]) -> Floats:
    """One direction, from the equations: [length, D]."""
    width = weights["state_weight"].shape[1]
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    state, cell, found = np.zeros(width), np.zeros(width), []
    for vector in x:
        gates = weights["input_weight"] @ vector + weights["input_bias"]
        gates = gates + weights["state_weight"] @ state + weights["state_bias"]
        take, forget, new, give = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(take) * np.tanh(new)
        state = sigmoid(give) * np.tanh(cell)
        found.append(state)
    return np.array(found)


@pytest.mark.parametrize("name", FEATURES)
def test_the_network_against_numpy(name: str) -> None:
    learner = learner_for(labelling(name))
    parameters = learner.parameters()
    rng = np.random.default_rng(1)
    if "features.weights" in parameters:  # they start equal, which would hide a mistake
        parameters["features.weights"] = rng.normal(size=parameters["features.weights"].shape).astype(np.float32)
        parameters["features.scale"] = np.array([1.7], np.float32)
        learner.load_parameters(parameters)
    hidden = all_hidden(parameters)
    values = {key: array.astype(np.float64) for key, array in parameters.items()}
    found = learner.infer("answer", batch())["logits"]
    for row, length in enumerate(LENGTHS):
        if name.startswith("weighted"):
            layers = hidden[row][1:] if name == "weighted_all" else hidden[row][-4:]
            shares = np.exp(values["features.weights"])
            x = 1.7 * sum(share * layer for share, layer in zip(shares / shares.sum(), layers, strict=True))
        elif name == "concat_last4":
            x = np.concatenate(hidden[row][-4:], axis=1)
        else:
            x = hidden[row][{"embeddings": 0, "second_to_last": -2, "last": -1}[name]]
        for layer in range(2):
            ways = []
            for way in ("forward", "backward"):
                weights = {key.rpartition(".")[2]: value for key, value in values.items() if f"{layer}.{way}" in key}
                ways.append(lstm(x, weights) if way == "forward" else lstm(x[::-1], weights)[::-1])
            x = np.concatenate(ways, axis=1)
        logits = x @ values["classifier.weight"] + values["classifier.bias"]
        np.testing.assert_allclose(found[row, :length], logits, atol=2e-5)


def test_padding_changes_nothing() -> None:
    learner = learner_for(labelling("concat_last4"))
    found, more = (learner.infer("answer", batch(padded))["logits"] for padded in (0, 5))
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(more[row, :length], found[row, :length], atol=1e-6)
    assert learner.evaluate("train", [batch(5, True)])["loss"] == pytest.approx(
        learner.evaluate("train", [batch(0, True)])["loss"], abs=1e-6
    )


@pytest.mark.parametrize("name", ["embeddings", "weighted_last4"])
def test_the_encoder_stays_as_it_is_and_the_rest_learns(name: str) -> None:
    """Not a bit of the encoder changes, though there is weight decay; all that is on it does."""
    learner = learner_for(labelling(name))
    before = learner.parameters()
    micro_batches = [batch(0, True), batch(2, True)]
    losses = [learner.train_step("train", micro_batches, 1e-2).loss for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    after = learner.parameters()
    for key, array in before.items():
        assert np.array_equal(after[key], array) == key.startswith("ernie."), key


def test_features_are_computed_without_dropout() -> None:
    """What is trained on is what is answered with: with dropout in the encoder alone, the losses would differ."""
    config = dataclasses.replace(CONFIG, num_hidden_layers=1, attention_probs_dropout_prob=0.8)
    for features, same in (("last", True), (None, False)):
        learner = learner_for(labelling(features), config)
        wanted = learner.evaluate("train", [batch(0, True)])["loss"]
        trained = learner.train_step("train", [batch(0, True)], 0.0).loss
        assert (trained == pytest.approx(wanted, abs=1e-6)) == same


def test_a_model_with_too_few_blocks_is_refused() -> None:
    assert list(FEATURES["second_to_last"].layers(1)) == [0]
    assert list(FEATURES["weighted_all"].layers(3)) == [1, 2, 3]
    with pytest.raises(UserError, match="--features needs the last 4 blocks, and this model has 3"):
        FEATURES["concat_last4"].layers(3)


def test_mixed_precision_leaves_the_lstm_and_its_features_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """float16 in name, as a CPU computes no matrix product in it: the Program must still be one that runs."""
    monkeypatch.setattr("propeller.graph.precision.ALLOW_FLOAT16_ON_CPU", True)
    blacklist = ("matmul", "matmul_v2", "linear_v2", "mul", "einsum", "fused_gemm_epilogue")
    mixed = PrecisionConfig(dtype="float16", init_loss_scaling=8.0, extra_black_list=blacklist)
    losses = []
    for precision in (None, mixed):
        task = labelling("concat_last4")
        learner = Learner(OptimizerConfig(), precision, seed=5)
        learner.add(ProgramSpec("train", task.inputs(True), lambda task=task: task.layer(CONFIG), task.losses))
        losses.append([learner.train_step("train", [batch(0, True)], 1e-2).loss for _ in range(3)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
