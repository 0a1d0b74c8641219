"""Sets of rows that share a step: the same rows as alone, cut alike, and losses and gradients that add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.heads import gather_positions
from ernie_paddle.models.inputs import encoder_feeds
from ernie_paddle.objectives.registry import make_objective
from ernie_paddle.pretraining.batches.joint_steps import JointStepData
from ernie_paddle.pretraining.batches.run_data import training_data
from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.model import PretrainingModel, build_joint, build_task
from ernie_paddle.pretraining.recipe import Recipe
from ernie_paddle.pretraining.recipe_files import load_recipe
from ernie_paddle.pretraining.schedule.plan import make_plan
from ernie_paddle.pretraining.schedule.task_sums import sum_tasks
from helpers.objective_corpora import FIRST, Documents, make_vocab, write
from propeller.errors import UserError
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from propeller.settings import from_mapping

DOCS = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4, 5, 6], [8, 8], [5], [2, 9, 4, 1, 1, 1, 6]] * 4, 3)
MEMBERS: dict[str, dict[str, Any]] = {"mlm+nsp": {"mlm": {}, "nsp": {}}, "order": {"sentence_reordering": {}}}
ARCH: dict[str, Any] = {
    "vocab_size": FIRST + DOCS.n_tokens, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 40, "type_vocab_size": 4, "task_type_vocab_size": 4,
    "use_task_id": True, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-5,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("corpus") / "a", DOCS, make_vocab(FIRST + DOCS.n_tokens))


@pytest.fixture(scope="module")
def data(corpus: str) -> JointStepData:
    return JointStepData(
        "mlm+nsp+order",
        tuple(
            TaskData(
                name, objectives, [(corpus, 1.0)], 40, batch_tokens=120, micro_batch_tokens=size, min_tokens=1,
                bin_width=8, seed=5, task_id=number,
            )
            for number, ((name, objectives), size) in enumerate(zip(MEMBERS.items(), (60, None), strict=True))
        ),
    )  # fmt: skip


def test_the_rows_are_those_of_each_member(data: JointStepData) -> None:
    """Nothing is lost in cutting both alike, on any number of ranks; idle ranks have as many micro-batches."""
    for world in (1, 2, 30):
        together = [data.open().step(3, rank, world) for rank in range(world)]
        assert len({len(batch.micro_batches) for batch in together}) == 1
        if world == 1:
            assert len(together[0].micro_batches) > 1
        for group in data.groups:
            alone = group.open().step(3)
            tokens = sum(feeds["attention_mask"].sum() for feeds in alone.micro_batches)
            assert sum(batch.real_tokens for batch in together) > tokens
            name = "sentence_reordering_labels" if group.task == "order" else "nsp_labels"
            expected = sorted(label for feeds in alone.micro_batches for label in feeds[name].tolist() if label >= 0)
            found = [
                label
                for batch in together
                for feeds in batch.micro_batches
                for label in feeds[f"{group.task}/{name}"].tolist()
                if label >= 0
            ]
            assert sorted(found) == expected
            assert all(
                set(feeds[f"{group.task}/task_ids"].ravel().tolist()) == {group.task_id}
                for feeds in together[0].micro_batches
            )
        parts = [group.open().step(3) for group in data.groups]
        assert sum(batch.real_tokens for batch in together) == sum(batch.real_tokens for batch in parts)
        assert sum(batch.rows for batch in together) == sum(batch.rows for batch in parts)


def test_losses_are_those_of_the_members_and_gradients_add_up(data: JointStepData) -> None:
    """At rate 0 a step changes only the moments, and these say what the gradients were."""
    config = ErnieConfig.from_dict(ARCH, "test")
    objectives = {group.task: group.open().objectives for group in data.groups}
    learner = Learner(OptimizerConfig(clip_norm=None), seed=1)
    learner.add(build_joint(data.task, objectives, config, max_length=40))
    for name, own in objectives.items():
        learner.add(build_task(name, own, config, max_length=40))
    whole = learner.train_step(data.task, data.open().step(0).micro_batches, 0.0)
    moments = {name: learner.variables.get(name) for name in learner.variables.names(parameters=False)}
    apart: dict[str, np.ndarray[Any, Any]] = {}
    for group in data.groups:
        before = {name: learner.variables.get(name) for name in moments}
        result = learner.train_step(group.task, group.open().step(0).micro_batches, 0.0)
        for term, loss in result.losses.items():
            assert whole.losses[f"{group.task}/{term}"] == pytest.approx(loss, rel=1e-5)
        for name in (name for name in moments if name.endswith("@moment1")):
            # m := 0.9 m + 0.1 g of a parameter that the group trains.
            after = learner.variables.get(name)
            if not np.array_equal(after, before[name]):
                apart[name] = apart.get(name, 0) + (after - 0.9 * before[name])
    assert len(apart) > 20
    for name, gradient in apart.items():
        np.testing.assert_allclose(moments[name], gradient, atol=1e-7, rtol=1e-3)
    assert whole.loss == pytest.approx(sum(whole.losses.values()), rel=1e-6)


def _recipe(tasks: dict[str, Any], **more: Any) -> Recipe:
    plain = {
        "name": "test", "arch": ARCH, "tasks": tasks, "schedule": {"kind": "sum", "total_steps": 4},
        "data": {"corpora": [{"path": "c"}], "max_length": 40, "min_tokens": 1}, "train": {"batch_tokens": 480},
    } | more  # fmt: skip
    return from_mapping(Recipe, plain, "test")


def test_token_objectives_are_trained_on_all_rows() -> None:
    """Figure 1 of "On Losses …", in a sum and in the last stage of the incremental way; each objective counts once."""
    for kind in ("sum", "incremental"):
        recipe = load_recipe(f"on_losses_{kind}", corpora=["c"])
        plan = make_plan(recipe)
        last = plan.trained[plan.schedule.task_at(plan.schedule.total_steps - 1)]
        assert last.tasks == ("mlm", "quick_thoughts", "sentence_ordering", "tf_idf")
        halves, order = last.groups
        assert set(halves.objectives) == {"mlm", "quick_thoughts", "tf_idf"}
        assert set(order.objectives) == {"mlm", "sentence_ordering", "tf_idf"}
        for each in plan.trained.values():
            weights: dict[str, float] = {}
            for group in each.groups:
                for name, settings in group.objectives.items():
                    weights[name] = weights.get(name, 0.0) + make_objective(name, settings).settings.weight
            assert weights == dict.fromkeys(each.tasks, 1.0)


def test_what_does_not_fit_on_rows_does_not_join_them() -> None:
    """Two kinds of masking mask different tokens, and rows of other text are nobody else's; weights are divided."""
    tasks = {
        "mlm": {"objectives": {"mlm": {"weight": 3.0, "rate": 0.2}}},
        "knowledge": {"objectives": {"knowledge_masking": {}}},
        "nsp": {"objectives": {"nsp": {}, "capitalization": {"weight": 0.5}}},
        "elsewhere": {"objectives": {"sentence_reordering": {}, "capitalization": {}}, "corpora": [{"path": "d"}]},
    }
    groups = sum_tasks(_recipe(tasks), list(tasks)).groups
    assert [(group.tasks, group.objectives) for group in groups] == [
        (("mlm", "nsp"), {"mlm": {"weight": 3.0, "rate": 0.2}, "nsp": {}, "capitalization": {"weight": 0.5 / 3}}),
        (("knowledge",), {"knowledge_masking": {}, "capitalization": {"weight": 0.5 / 3}}),
        (("elsewhere",), {"sentence_reordering": {}, "capitalization": {"weight": 1.0 / 3}}),
    ]
    # Two tasks that never share rows, and a token objective with other settings in each.
    tasks = {
        "knowledge": {"objectives": {"knowledge_masking": {}}},
        "nsp": {"objectives": {"mlm": {}, "nsp": {}, "capitalization": {}}},
        "capitals": {"objectives": {"capitalization": {"weight": 2.0}}},
    }
    with pytest.raises(UserError, match="are trained together but differ in the settings of capitalization"):
        sum_tasks(_recipe(tasks), list(tasks))


def _cross_entropy(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> tuple[float, int]:
    """Sum over the labels that are not -100, and their number."""
    chosen = [(row.astype(np.float64), label) for row, label in zip(logits, labels.tolist(), strict=True) if label >= 0]
    return float(sum(np.log(np.exp(row - row[label]).sum()) for row, label in chosen)), len(chosen)


def test_the_sum_is_that_of_the_paper(corpus: str) -> None:
    """Each objective's mean once: of a token objective in two sets of rows, the mean of both sets' means."""
    tasks = {
        "mlm": {"objectives": {"mlm": {}}, "task_id": 0},
        "nsp": {"objectives": {"nsp": {"weight": 0.7}}, "task_id": 1},
        "order": {"objectives": {"sentence_reordering": {"max_segments": 3}}, "task_id": 2},
        "capitals": {"objectives": {"capitalization": {"weight": 3.0}}, "task_id": 3},
    }
    recipe = _recipe(tasks, data={"corpora": [{"path": corpus}], "max_length": 40, "min_tokens": 1})
    config = ErnieConfig.from_dict(ARCH, "test")
    data = training_data(recipe, sum_tasks(recipe, list(tasks)), config)
    assert isinstance(data, JointStepData)
    reader = data.open()
    objectives = {group.task: group.objectives for group in reader.groups}
    assert [sorted(objective.name for objective in own) for own in objectives.values()] == [
        ["capitalization", "mlm", "nsp"], ["capitalization", "mlm", "sentence_reordering"],
    ]  # fmt: skip

    learner = Learner(OptimizerConfig(), seed=3)
    learner.add(build_joint("whole", objectives, config, max_length=40))
    (feeds,) = reader.step(0).micro_batches
    expected, by_objective = 0.0, {name: [0.0, 0] for name in ("mlm", "capitalization")}
    for group in reader.groups:
        own = {name.removeprefix(f"{group.task}/"): array for name, array in feeds.items()}
        pooled = "nsp" if "nsp_labels" in own else "sentence_reordering"

        def logits(model: Any, fed: dict[str, Any], pooled: str = pooled) -> dict[str, Any]:
            outputs = model.encoder(**encoder_feeds(fed))
            return {
                "mlm": model.heads["mlm"](gather_positions(outputs.hidden_BTH, fed["mlm_positions"])),
                "capitalization": model.heads["capitalization"](outputs),
                pooled: model.heads[pooled](outputs),
                "all": sum(value.sum() for value in fed.values()),
            }

        def model(made: Any = group.objectives) -> PretrainingModel:
            return PretrainingModel(config, made)

        learner.add(ProgramSpec(f"logits of {group.task}", group.inputs, model, logits))
        found = learner.infer(f"logits of {group.task}", {item.name: own[item.name] for item in group.inputs})
        for name, weight in (("mlm", 1.0), ("capitalization", 3.0), (pooled, 0.7 if pooled == "nsp" else 1.0)):
            labels = own[f"{name}_labels"].ravel()
            total, count = _cross_entropy(found[name].reshape(len(labels), -1), labels)
            expected += weight * total / count / (1 if name == pooled else 2)
            if name != pooled:
                by_objective[name][0] += total
                by_objective[name][1] += count
    measured = learner.evaluate("whole", [feeds])
    assert measured["loss"] == pytest.approx(expected, rel=1e-5)
    # Equal shares of the step's tokens have about as many labels: near the mean over the labels of both.
    for name, (total, count) in by_objective.items():
        mean = np.mean([measured[f"{group.task}/{name}"] for group in reader.groups])
        assert mean == pytest.approx(total / count, rel=0.02)
