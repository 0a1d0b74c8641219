"""R-Drop: two passes with different dropout should give the same prediction (Liang et al. 2021, "R-Drop", section 2.1).

The paper trains each row on L = (NLL1 + NLL2) + alpha · ½ (KL(P1 ‖ P2) + KL(P2 ‖ P1)), where P1 and P2 are the
predictions of the two passes. This implementation uses half of it, so that alpha near 0 is ordinary training: the mean
of the two losses, plus alpha / 2 times the mean of the two divergences. For a regression, the squared difference
replaces the divergence.

Shape suffixes: B batch, T positions, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import paddle

from ernie_paddle.finetune.task_type import TaskType
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError
from propeller.graph.losses import LossTerm
from propeller.values import Value

Losses = Callable[[Any, Mapping[str, Value]], list[LossTerm]]
"""`TaskType.losses`, or a function that replaces it."""


def with_rdrop(task: TaskType, alpha: float, config: ErnieConfig) -> Losses:
    """The losses of a task over two passes through the model, with the divergence of their predictions.

    Args:
        task: A task whose type has a divergence.
        alpha: Weight of the divergence as in the paper, above 0.
        config: Configuration of the model.

    Raises:
        UserError: The model has no dropout, so that both passes would be equal.
    """
    if config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0:
        raise UserError(
            "--rdrop compares two passes with different dropout, but this model's dropout is 0; set --dropout"
        )

    def losses(layer: Any, values: Mapping[str, Value]) -> list[LossTerm]:
        # Both passes run as one batch with every row twice: a graph with two encoders is slow to build and start.
        twice = {name: paddle.concat([value, value]) for name, value in values.items()}
        first, second = paddle.split(layer(twice), 2)
        one, two = (task.losses(lambda _, answer=answer: answer, values) for answer in (first, second))
        return [
            *(_mean(a, b) for a, b in zip(one, two, strict=True)),
            *task.divergence(first, second, values, alpha / 2),
        ]

    return losses


def _mean(one: LossTerm, two: LossTerm) -> LossTerm:
    """The mean of the same term of two passes."""
    hits = None if one.hits is None else (one.hits + two.hits) * 0.5
    return LossTerm(one.name, (one.total + two.total) * 0.5, one.labels, one.weight, hits)
