"""Sets of rows that share a step: the same rows as alone, cut alike, and losses and gradients that add up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "objectives"))
from objective_corpora import FIRST, Documents, make_vocab, write

from ernie_paddle.composite import CompositeData
from ernie_paddle.examples import TaskData
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.objectives.registry import make_objectives
from ernie_paddle.pretraining_model import build_composite, build_task
from propeller.learner import Learner
from propeller.optim import OptimizerConfig

DOCS = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4, 5, 6], [8, 8], [5], [2, 9, 4, 1, 1, 1, 6]] * 4, 3)
MEMBERS: dict[str, dict[str, Any]] = {"mlm+nsp": {"mlm": {}, "nsp": {}}, "order": {"sentence_reordering": {}}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CompositeData:
    corpus = write(tmp_path_factory.mktemp("corpus") / "a", DOCS, make_vocab(FIRST + DOCS.n_tokens))
    return CompositeData(
        "mlm+nsp+order",
        tuple(
            TaskData(
                name, objectives, [(corpus, 1.0)], 40, batch_tokens=120, micro_batch_tokens=size, min_tokens=1,
                bin_width=8, seed=5, task_id=number,
            )
            for number, ((name, objectives), size) in enumerate(zip(MEMBERS.items(), (60, None), strict=True))
        ),
    )  # fmt: skip


def test_the_rows_are_those_of_each_member(data: CompositeData) -> None:
    """Nothing is lost in cutting both alike, on any number of ranks; idle ranks have as many micro-batches."""
    for world in (1, 2, 30):
        together = [data.open().step(3, rank, world) for rank in range(world)]
        assert len({len(batch.micro_batches) for batch in together}) == 1
        if world == 1:
            assert len(together[0].micro_batches) > 1
        for member in data.members:
            alone = member.open().step(3)
            tokens = sum(feeds["attention_mask"].sum() for feeds in alone.micro_batches)
            assert sum(batch.real_tokens for batch in together) > tokens
            name = "sentence_reordering_labels" if member.task == "order" else "nsp_labels"
            expected = sorted(label for feeds in alone.micro_batches for label in feeds[name].tolist() if label >= 0)
            found = [
                label
                for batch in together
                for feeds in batch.micro_batches
                for label in feeds[f"{member.task}/{name}"].tolist()
                if label >= 0
            ]
            assert sorted(found) == expected
            assert all(
                set(feeds[f"{member.task}/task_ids"].ravel().tolist()) == {member.task_id}
                for feeds in together[0].micro_batches
            )
        parts = [member.open().step(3) for member in data.members]
        assert sum(batch.real_tokens for batch in together) == sum(batch.real_tokens for batch in parts)
        assert sum(batch.rows for batch in together) == sum(batch.rows for batch in parts)


def test_losses_are_those_of_the_members_and_gradients_add_up(data: CompositeData) -> None:
    """At rate 0 a step changes only the moments, and these say what the gradients were."""
    config = ErnieConfig.from_dict(
        {
            "vocab_size": FIRST + DOCS.n_tokens, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 40, "type_vocab_size": 4, "task_type_vocab_size": 4,
            "use_task_id": True, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
            "layer_norm_eps": 1e-5,
        },
        "test",
    )  # fmt: skip
    objectives = {name: make_objectives(settings, name) for name, settings in MEMBERS.items()}
    learner = Learner(OptimizerConfig(clip_norm=None), seed=1)
    learner.add(build_composite(data.task, objectives, config, max_length=40))
    for name, own in objectives.items():
        learner.add(build_task(name, own, config, max_length=40))
    whole = learner.train_step(data.task, data.open().step(0).micro_batches, 0.0)
    moments = {name: learner.variables.get(name) for name in learner.variables.names(parameters=False)}
    apart: dict[str, np.ndarray[Any, Any]] = {}
    for member in data.members:
        before = {name: learner.variables.get(name) for name in moments}
        result = learner.train_step(member.task, member.open().step(0).micro_batches, 0.0)
        for term, loss in result.losses.items():
            assert whole.losses[f"{member.task}/{term}"] == pytest.approx(loss, rel=1e-5)
        for name in (name for name in moments if name.endswith("@moment1")):
            # m := 0.9 m + 0.1 g of a parameter that the member trains.
            after = learner.variables.get(name)
            if not np.array_equal(after, before[name]):
                apart[name] = apart.get(name, 0) + (after - 0.9 * before[name])
    assert len(apart) > 20
    for name, gradient in apart.items():
        np.testing.assert_allclose(moments[name], gradient, atol=1e-7, rtol=1e-3)
    assert whole.loss == pytest.approx(sum(whole.losses.values()), rel=1e-6)
