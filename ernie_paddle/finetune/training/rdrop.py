"""R-Drop: two passes with different dropout shall give the same answer (Liang et al. 2021, "R-Drop", section 2.1).

The paper trains each row on L = (NLL1 + NLL2) + alpha · ½ (KL(P1 ‖ P2) + KL(P2 ‖ P1)), where P1 and P2 are the answers
of the two passes. Here it is half of that, so that alpha near 0 is ordinary training: the mean of the two losses, and
alpha / 2 times the mean of the two divergences. Of numbers (regression) the squared difference takes their place.

Shape suffixes: B batch, T positions, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import paddle
from paddle.nn import functional as F

from ernie_paddle.finetune.task_type import TaskType
from ernie_paddle.finetune.tasks.question_answering import POSITIONS, position_scores
from ernie_paddle.finetune.tasks.text_task import LABEL
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError
from propeller.graph.inputs import IGNORE
from propeller.graph.losses import LossTerm

Value = Any
Losses = Callable[[Any, Mapping[str, Value]], list[LossTerm]]
"""`TaskType.losses`, or something in its place."""


def with_rdrop(task: TaskType, alpha: float, config: ErnieConfig) -> Losses:
    """The losses of a task, of two passes through the model, with the divergence of their answers.

    Args:
        task: one of the types in `_DIVERGENCES`.
        alpha: weight of the divergence as in the paper, above 0.
        config: of the model.

    Raises:
        UserError: another task type, or a model without dropout, whose two passes would be one.
    """
    if task.type not in _DIVERGENCES:
        raise UserError(f"--rdrop is for {', '.join(sorted(_DIVERGENCES))}; {task.type} does not have it")
    if config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0:
        raise UserError(
            "--rdrop compares two passes with different dropout, but this model's dropout is 0; set --dropout"
        )

    def losses(layer: Any, values: Mapping[str, Value]) -> list[LossTerm]:
        # The two passes as one over every row twice: a graph with two encoders takes long to build and to start.
        twice = {name: paddle.concat([value, value]) for name, value in values.items()}
        first, second = paddle.split(layer(twice), 2)
        one, two = (task.losses(lambda _, answer=answer: answer, values) for answer in (first, second))
        return [
            *(_mean(a, b) for a, b in zip(one, two, strict=True)),
            *_DIVERGENCES[task.type](first, second, values, alpha / 2),
        ]

    return losses


def symmetric_divergence(first: Value, second: Value) -> Value:
    """½ (KL(P ‖ Q) + KL(Q ‖ P)) of the distributions softmax(first) and softmax(second).

    Args:
        first: [..., K].
        second: [..., K].

    Returns:
        Nats, float32 [...].
    """
    log_p, log_q = F.log_softmax(first.astype("float32")), F.log_softmax(second.astype("float32"))
    return ((paddle.exp(log_p) - paddle.exp(log_q)) * (log_p - log_q)).sum(-1) * 0.5


def _mean(one: LossTerm, two: LossTerm) -> LossTerm:
    """Of the same term of two passes."""
    hits = None if one.hits is None else (one.hits + two.hits) * 0.5
    return LossTerm(one.name, (one.total + two.total) * 0.5, one.labels, one.weight, hits)


def _classes(first: Value, second: Value, values: Mapping[str, Value], weight: float) -> list[LossTerm]:
    """Of [..., K], over the labelled rows or positions."""
    labelled = (values[LABEL] != IGNORE).astype("float32")
    return [LossTerm("rdrop", (symmetric_divergence(first, second) * labelled).sum(), LABEL, weight)]


def _spans(first: Value, second: Value, values: Mapping[str, Value], weight: float) -> list[LossTerm]:
    """Of the start and of the end, half each as in the loss, over the positions [B, T, 2] of the rows."""
    terms = []
    mask_BT = values["attention_mask"]
    pairs = zip(position_scores(first, mask_BT), position_scores(second, mask_BT), strict=True)
    for name, (one_BT, two_BT) in zip(POSITIONS, pairs, strict=True):
        labelled_B = (values[name] != IGNORE).astype("float32")
        total = (symmetric_divergence(one_BT, two_BT) * labelled_B).sum()
        terms.append(LossTerm(f"rdrop_{name.removesuffix('_positions')}", total, name, 0.5 * weight))
    return terms


def _numbers(first: Value, second: Value, values: Mapping[str, Value], weight: float) -> list[LossTerm]:
    """Of [B, 1], over the rows that have a score."""
    labelled_B = 1.0 - paddle.isnan(values[LABEL]).astype("float32")
    return [LossTerm("rdrop", (paddle.square(first - second).reshape([-1]) * labelled_B).sum(), LABEL, weight)]


_DIVERGENCES: dict[str, Callable[[Value, Value, Mapping[str, Value], float], list[LossTerm]]] = {
    "classification": _classes,
    "labelling": _classes,
    "multiple_choice": _classes,
    "question_answering": _spans,
    "regression": _numbers,
    "span_classification": _classes,
}
"""The divergence of two answers of a task type's layer, with its weight in the loss."""
