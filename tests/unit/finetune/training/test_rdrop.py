"""R-Drop: the divergence against SciPy, the losses of two passes against NumPy, and what no dropout comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import paddle
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from ernie_paddle.finetune.networks.divergence import symmetric_divergence
from ernie_paddle.finetune.options import read_finetune_options
from ernie_paddle.finetune.task_type import TASK_TYPES, TaskType
from ernie_paddle.finetune.tasks.classification import Classification
from ernie_paddle.finetune.tasks.labelling import Labelling
from ernie_paddle.finetune.tasks.question_answering import QuestionAnswering
from ernie_paddle.finetune.tasks.regression import Regression
from ernie_paddle.finetune.training.rdrop import with_rdrop
from ernie_paddle.models.config import ErnieConfig
from propeller.device import static
from propeller.errors import UserError
from propeller.graph.losses import LossTerm

TEXT: dict[str, Any] = {"text_a": "a", "text_b": None, "label": "label", "max_length": 16, "header": True}
CLASSES = Classification(**TEXT, metric="accuracy", labels=("a", "b", "c"))
SCORES = Regression(**TEXT, metric="pearson")
TAGS = Labelling("a", "l", True, "none", ("a", "b", "c"), "first", 16, 8, "accuracy")
SPANS = QuestionAnswering(24, 6, 8, 8, 5, "squad", "f1", unanswerable=False)
CONFIG = ErnieConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
ALPHA = 3.0


@pytest.fixture(autouse=True)
def _eager() -> Iterator[None]:
    paddle.disable_static()
    yield
    static.enable()


def terms_of(task: TaskType, first: NDArray[Any], second: NDArray[Any], **values: NDArray[Any]) -> dict[str, LossTerm]:
    """The losses where the first pass through the model answers `first` and the second one `second`."""

    def layer(asked: Mapping[str, Any]) -> Any:
        for name, array in values.items():
            np.testing.assert_array_equal(asked[name].numpy(), np.concatenate([array, array]))
        return paddle.to_tensor(np.concatenate([first, second]))

    given = {name: paddle.to_tensor(array) for name, array in values.items()}
    return {term.name: term for term in with_rdrop(task, ALPHA, CONFIG)(layer, given)}


def random(*shape: int) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(len(shape))
    return rng.normal(size=shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)


def divergence(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Over the last axis, with SciPy."""
    p, q = softmax(first, -1), softmax(second, -1)
    found: NDArray[Any] = (entropy(p, q, axis=-1) + entropy(q, p, axis=-1)) / 2
    return found


def test_the_divergence_is_that_of_scipy_and_0_of_equals() -> None:
    first, second = random(7, 5)
    found = symmetric_divergence(paddle.to_tensor(first), paddle.to_tensor(second)).numpy()
    np.testing.assert_allclose(found, divergence(first, second), rtol=1e-5)
    assert found.min() > 0.05
    # Logits that differ by a number give the same distribution.
    same = symmetric_divergence(paddle.to_tensor(first), paddle.to_tensor(first + np.float32(2))).numpy()
    np.testing.assert_allclose(same, 0, atol=1e-7)
    assert (symmetric_divergence(paddle.to_tensor(first), paddle.to_tensor(first)).numpy() == 0).all()


@pytest.mark.parametrize("task", [CLASSES, TAGS], ids=["classification", "labelling"])
def test_classes(task: TaskType) -> None:
    first, second = random(5, 3) if task is CLASSES else random(2, 4, 3)
    labels = np.random.default_rng(0).integers(0, 3, first.shape[:-1])
    labels[-1] = -100
    terms = terms_of(task, first, second, labels=labels)
    real = labels >= 0
    nll = [
        -np.take_along_axis(log_softmax(logits, -1), np.maximum(labels, 0)[..., None], -1)[..., 0][real].sum()
        for logits in (first, second)
    ]
    plain, drop = terms[task.type], terms["rdrop"]
    assert float(plain.total) == pytest.approx(np.mean(nll), rel=1e-5)
    assert float(plain.hits) == np.mean([(logits.argmax(-1) == labels).sum() for logits in (first, second)])
    assert float(drop.total) == pytest.approx(divergence(first, second)[real].sum(), rel=1e-5)
    assert (plain.labels, drop.labels, plain.weight, drop.weight) == ("labels", "labels", 1, ALPHA / 2)


def test_scores() -> None:
    first, second = random(4, 1)
    labels = np.array([1, np.nan, 2, 0.5], np.float32)
    terms = terms_of(SCORES, first, second, labels=labels)
    errors = [np.nansum((scores[:, 0] - labels) ** 2) for scores in (first, second)]
    assert float(terms["regression"].total) == pytest.approx(np.mean(errors), rel=1e-5)
    apart = (first - second)[[0, 2, 3]] ** 2
    assert float(terms["rdrop"].total) == pytest.approx(apart.sum(), rel=1e-5)
    assert terms["rdrop"].weight == ALPHA / 2


def test_spans_are_compared_without_padding() -> None:
    first, second = random(3, 6, 2)
    lengths = [6, 4, 5]
    mask = (np.arange(6) < np.array(lengths)[:, None]).astype(np.int64)
    starts, ends = np.array([1, 3, -100]), np.array([5, 0, -100])
    terms = terms_of(SPANS, first, second, attention_mask=mask, start_positions=starts, end_positions=ends)
    for end, (name, labels) in enumerate((("start", starts), ("end", ends))):
        rows = [(first[row, : lengths[row], end], second[row, : lengths[row], end]) for row in (0, 1)]
        nll = [-log_softmax(scores)[labels[row]] for row in (0, 1) for scores in rows[row]]
        assert float(terms[name].total) == pytest.approx(np.sum(nll) / 2, rel=1e-5)
        wanted = sum(divergence(*pair) for pair in rows)
        assert float(terms[f"rdrop_{name}"].total) == pytest.approx(wanted, rel=1e-5)
        assert terms[f"rdrop_{name}"].weight == ALPHA / 4
        assert terms[f"rdrop_{name}"].labels == f"{name}_positions"


def test_what_it_has_no_meaning_for_is_refused() -> None:
    still = ErnieConfig(**{**CONFIG.to_dict(), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    with pytest.raises(UserError, match="this model's dropout is 0"):
        with_rdrop(CLASSES, 1.0, still)

    others = ", ".join(sorted(set(TASK_TYPES) - {"retrieval", "span_classification"}))
    message = f"--rdrop is for {others} and span_classification; remove it for --type retrieval"
    with pytest.raises(UserError, match=message):
        read_finetune_options({"type": "retrieval", "train": "t", "dev": "d", "output": "o", "rdrop": 1.0})
