"""The seams of a pre-training task: objectives that encode rows in their own way, and inputs of tokens by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
import pytest

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder, EncoderOutput
from ernie_paddle.models.inputs import encoder_feeds
from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings, default_arrangement
from ernie_paddle.objectives.registry import make_objective
from ernie_paddle.objectives.rows import Batch, Example, Row
from ernie_paddle.pretraining.batches.step_reader import StepReader
from ernie_paddle.pretraining.model import PretrainingModel, build_task
from helpers.objective_corpora import FIRST, Documents, in_memory, step_reader
from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from propeller.values import Arrays, Value
from reader.batches.rows import RowLayout

DOCS = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4], [8, 8], [5], [2, 9, 4]] * 3, 3)


class Blinkered(Objective[ObjectiveSettings]):
    """Every token sees those of its own side only: the encoding is two passes, each with the other side masked."""

    name = "blinkered"
    summary = "toy"
    settings_type = ObjectiveSettings
    arranges = True

    @property
    def inputs(self) -> Sequence[Input]:
        return [Input("blinkered_labels", (None,), "float32", ignore=float("nan"))]

    @property
    def token_inputs(self) -> Sequence[Input]:
        return [Input("sides", (None, None), "int64", pad=-1), Input("position_ids", (None, None), "int64", pad=3)]

    def arrange(self, row: Row) -> Sequence[Example]:
        plain = default_arrangement(row)
        places = np.arange(len(plain.ids))
        inputs: Arrays = {"sides": places % 2, "position_ids": places[::-1].copy()}
        return [Example(plain.ids, plain.segments, plain.flags, plain.special, plain.documents, {}, inputs)]

    def label(self, batch: Batch) -> Arrays:
        return {"blinkered_labels": np.ones(len(batch.ids), np.float32)}

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, Any]:
        return {}

    def encode(self, encoder: Encoder, feeds: Mapping[str, Value]) -> EncoderOutput:
        own = encoder_feeds(feeds)
        passes = []
        for side in (0, 1):
            mask = own["attention_mask"] * (feeds["sides"] == side).astype("int64")
            found = encoder(**{**own, "attention_mask": mask})
            passes.append(found.hidden_BTH * (feeds["sides"] == side).astype("float32").unsqueeze(-1))
        return EncoderOutput(passes[0] + passes[1])

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        return [LossTerm(self.name, paddle.square(outputs.hidden_BTH).sum(), "blinkered_labels")]


def _config(size: int) -> ErnieConfig:
    return ErnieConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=40,
        type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def reader() -> StepReader:
    data = in_memory(DOCS, max_length=40, overhead=2)
    plain = step_reader(data, {"mlm": {}})
    return StepReader("toy", [Blinkered(ObjectiveSettings()), make_objective("mlm")], plain.plan, data, seed=1)


def test_inputs_of_tokens_go_by_name_and_are_padded_by_their_input(reader: StepReader) -> None:
    (feeds,) = reader.step(0).micro_batches
    real = feeds["attention_mask"] == 1
    assert not real.all()
    for row, length in enumerate(real.sum(axis=1)):
        assert feeds["sides"][row].tolist() == [i % 2 for i in range(length)] + [-1] * (real.shape[1] - length)
        assert feeds["position_ids"][row, :length].tolist() == list(range(length))[::-1]
        assert set(feeds["position_ids"][row, length:].tolist()) <= {3}
    assert [item.name for item in reader.inputs][:5] == [
        "input_ids", "segment_ids", "attention_mask", "sides", "position_ids",
    ]  # fmt: skip


def test_an_objective_encodes_its_rows_in_its_own_way(reader: StepReader) -> None:
    """The masked LM that shares the rows reads the same encoding; no token sees one of the other side."""
    config = _config(FIRST + DOCS.n_tokens)
    learner = Learner(OptimizerConfig(), seed=1)
    task = build_task("toy", reader.objectives, config, max_length=40)
    learner.add(task)
    learner.add(
        ProgramSpec(
            "look",
            task.inputs,
            lambda: PretrainingModel(config, reader.objectives),
            lambda model, feeds: {
                "hidden": reader.objectives[0].encode(model.encoder, feeds).hidden_BTH,
                "all": sum(v.sum().astype("float32") for v in feeds.values()),
            },
        )
    )
    (feeds,) = reader.step(0).micro_batches
    result = learner.train_step("toy", [feeds], 0.0)
    hidden = learner.infer("look", feeds)["hidden"]
    assert result.losses["blinkered"] == pytest.approx(float(np.square(hidden).sum(axis=(1, 2)).mean()), rel=1e-5)
    assert result.losses["mlm"] > 0
    changed = {**feeds, "input_ids": feeds["input_ids"].copy()}
    other_side = (feeds["sides"] == 1) & (feeds["attention_mask"] == 1)
    changed["input_ids"][other_side] = FIRST + 1
    moved = np.abs(learner.infer("look", changed)["hidden"] - hidden).max(axis=-1)
    assert moved[feeds["sides"] == 0].max() == 0
    assert moved[other_side].max() > 1e-3


def test_an_objective_without_data_has_no_heads() -> None:
    paddle.disable_static()  # tests before this one may have left a Program with parameters of the same names
    with (
        paddle.utils.unique_name.guard(),
        pytest.raises(AssertionError, match="nsp has no heads before with_data"),
    ):
        PretrainingModel(_config(50), [make_objective("nsp")])
    objective = make_objective("nsp")
    bound = objective.with_data(in_memory(DOCS, max_length=40, overhead=3))
    assert bound.bound
    assert not objective.bound
    with paddle.utils.unique_name.guard():
        assert "nsp" in PretrainingModel(_config(50), [bound]).heads


@pytest.mark.parametrize("separators", [1, 2])
@pytest.mark.parametrize("name", ["nsp", "sentence_reordering", "sentence_ordering", "sentence_distance"])
def test_rows_have_as_many_separators_as_the_layout_says(name: str, separators: int) -> None:
    """Between two texts; the room of a row counts them, so that no row is too long."""
    from dataclasses import replace

    layout = RowLayout(separators)
    parts = make_objective(name).max_parts
    data = replace(in_memory(DOCS, max_length=24, overhead=layout.specials(parts)), layout=layout)
    made = step_reader(data, {name: {}}, overhead=layout.specials(parts))
    seen = set()
    for number in range(made.plan.batches_per_epoch):
        (feeds,) = made.step(number).micro_batches
        for ids in feeds["input_ids"].tolist():
            ends = [place for place, token in enumerate(ids) if token == data.vocab.sep]
            last = ends[-1]
            groups = "".join("|" if token == data.vocab.sep else "." for token in ids[1:last])
            assert all(len(run) == separators for run in groups.replace(".", " ").split())
            assert set(ids[last + 1 :]) <= {data.vocab.pad}
            seen.add(last + 1)
    assert max(seen) <= 24
