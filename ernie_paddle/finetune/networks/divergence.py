"""The divergence of two predictions for the same rows (Liang et al. 2021, "R-Drop", section 2.1).

Shape suffixes: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import paddle
from paddle.nn import functional as F

from ernie_paddle.finetune.task_type import LABEL
from propeller.graph.inputs import IGNORE
from propeller.graph.losses import LossTerm
from propeller.values import Value


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


def of_classes(first: Value, second: Value, values: Mapping[str, Value], weight: float) -> list[LossTerm]:
    """The divergence term of two predictions [..., K], over the labelled rows or positions."""
    labelled = (values[LABEL] != IGNORE).astype("float32")
    return [LossTerm("rdrop", (symmetric_divergence(first, second) * labelled).sum(), LABEL, weight)]
