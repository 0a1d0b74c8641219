"""R-Drop and adversarial training of every task type in the static graph: laws that need no numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ernie_paddle.finetune.task_type import TASK_TYPES, TaskType
from ernie_paddle.finetune.tasks.classification import Classification
from ernie_paddle.finetune.tasks.labelling import Labelling
from ernie_paddle.finetune.tasks.multiple_choice import MultipleChoice
from ernie_paddle.finetune.tasks.question_answering import QuestionAnswering
from ernie_paddle.finetune.tasks.regression import Regression
from ernie_paddle.finetune.tasks.span_classification import SpanClassification
from ernie_paddle.finetune.training.fgm import with_fgm
from ernie_paddle.finetune.training.rdrop import Losses, with_rdrop
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from propeller.results import StepResult

TEXT: dict[str, Any] = {"text_a": "a", "text_b": None, "label": "label", "max_length": 16, "header": True}
CLASSES: dict[str, Any] = {**TEXT, "metric": "accuracy", "labels": ("0", "1")}
TASKS: list[TaskType] = [
    Classification(**CLASSES),
    Labelling("a", "l", True, "none", ("a", "b", "c"), "first", 16, 8, "accuracy"),
    MultipleChoice(**CLASSES, choices=("x", "y")),
    QuestionAnswering(24, 6, 8, 8, 5, "squad", "f1", unanswerable=False),
    Regression(**TEXT, metric="pearson"),
    SpanClassification(**CLASSES, spans=(("s", "t"),)),
]
DROPOUT = ErnieConfig(vocab_size=25, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
STILL = ErnieConfig(**{**DROPOUT.to_dict(), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})


def batch(task: TaskType) -> dict[str, NDArray[Any]]:
    """Three rows of five positions in the declared shapes, without padding; all labels are 0 or 1."""
    rng = np.random.default_rng(0)
    arrays = {}
    for item in task.inputs(True):
        shape = [size or (3 if axis == 0 else 5) for axis, size in enumerate(item.shape)]
        values = rng.integers(5, 25, shape) if item.name == "input_ids" else rng.integers(0, 2, shape)
        arrays[item.name] = np.ones(shape, item.dtype) if item.name == "attention_mask" else values.astype(item.dtype)
    return arrays


def step(task: TaskType, config: ErnieConfig, losses: Losses) -> StepResult:
    learner = Learner(OptimizerConfig(), seed=1)
    learner.add(ProgramSpec("t", task.inputs(True), lambda: task.layer(config), losses))
    return learner.train_step("t", [batch(task)], 0.0)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.type)
def test_without_dropout_two_passes_are_one_and_words_that_move_cost_more(task: TaskType) -> None:
    plain = step(task, STILL, task.losses)
    # A move as short as this is the derivative itself: every row's loss grows by epsilon times its gradient's length.
    both = step(task, STILL, with_fgm(with_rdrop(task, 5.0, DROPOUT), 1e-2))
    for name, loss in plain.losses.items():
        assert both.losses[name] == pytest.approx(loss, rel=1e-6)
    drops = [name for name in both.losses if "rdrop" in name]
    assert len(drops) == 2 * len(plain.losses)
    assert [both.losses[name] for name in drops] == pytest.approx([0] * len(drops), abs=1e-12)
    assert both.metrics == pytest.approx(plain.metrics)
    assert both.loss > 2 * plain.loss * (1 + 1e-6)
    assert both.grad_norm == pytest.approx(2 * plain.grad_norm, rel=0.2)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.type)
def test_with_dropout_the_two_passes_differ(task: TaskType) -> None:
    found = step(task, DROPOUT, with_rdrop(task, 5.0, DROPOUT))
    drops = [name for name in found.losses if "rdrop" in name]
    assert drops
    for name in drops:
        assert found.losses[name] > 1e-9


def test_words_that_are_not_trained_are_not_moved() -> None:
    frozen = Labelling("a", "l", True, "none", ("a", "b", "c"), "first", 16, 8, "accuracy", features="last")
    with pytest.raises(UserError, match="--fgm follows the gradient of the word embeddings, but this model does not"):
        step(frozen, DROPOUT, with_fgm(frozen.losses, 0.1))


def test_every_task_type_is_known() -> None:
    assert {task.type for task in TASKS} | {"retrieval"} == set(TASK_TYPES)
