"""Loss terms that several objectives share: one of a classification, and one of a regression.

Paddle is imported at the first call.

Shape suffixes: K classes; the other axes are those of the labels.
"""

from __future__ import annotations

from propeller.graph.losses import LossTerm
from propeller.values import Value


def classification(name: str, logits_K: Value, label_values: Value, labels: str, weight: float) -> LossTerm:
    """Cross-entropy summed over the labels except ignored ones, and the number of correct predictions.

    Args:
        name: Name of the term in logs.
        logits_K: [..., K].
        label_values: int64 [...], the label input.
        labels: Name of the label Input.
        weight: Factor of the mean in the total loss.
    """
    from ernie_paddle.models.losses import correct_sum, cross_entropy_sum

    total = cross_entropy_sum(logits_K, label_values)
    return LossTerm(name, total, labels, weight, correct_sum(logits_K, label_values))


def regression(name: str, predictions: Value, targets: Value, labels: str, weight: float) -> LossTerm:
    """Squared error summed over the targets except ignored ones.

    Args:
        name: Name of the term in logs.
        predictions: [...].
        targets: float32 [...], the target input; IGNORE where there is no target.
        labels: Name of the target Input.
        weight: Factor of the mean in the total loss.
    """
    from ernie_paddle.models.losses import squared_error_sum
    from propeller.graph.inputs import IGNORE

    return LossTerm(name, squared_error_sum(predictions, targets, IGNORE), labels, weight)
