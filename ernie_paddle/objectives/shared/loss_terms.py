"""The graph half that several objectives share: the term of a classification, and that of a regression.

Paddle is imported at the first call.

Shape suffixes: K classes; the other axes are those of the labels.
"""

from __future__ import annotations

from propeller.graph.losses import LossTerm
from propeller.values import Value


def classification(name: str, logits_K: Value, label_values: Value, labels: str, weight: float) -> LossTerm:
    """Cross-entropy summed over the labels that do not say ignore, and how many of them are predicted right.

    Args:
        name: of the term, in logs.
        logits_K: [..., K].
        label_values: int64 [...], the fed labels.
        labels: name of their Input.
        weight: factor of the mean in the trained loss.
    """
    from ernie_paddle.models.losses import correct_sum, cross_entropy_sum

    total = cross_entropy_sum(logits_K, label_values)
    return LossTerm(name, total, labels, weight, correct_sum(logits_K, label_values))


def regression(name: str, predictions: Value, targets: Value, labels: str, weight: float) -> LossTerm:
    """Squared error summed over the targets that do not say ignore.

    Args:
        name: of the term, in logs.
        predictions: [...].
        targets: float32 [...], the fed targets; IGNORE where there is none.
        labels: name of their Input.
        weight: factor of the mean in the trained loss.
    """
    from ernie_paddle.models.losses import squared_error_sum
    from propeller.graph.inputs import IGNORE

    return LossTerm(name, squared_error_sum(predictions, targets, IGNORE), labels, weight)
