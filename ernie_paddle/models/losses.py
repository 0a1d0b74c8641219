"""Sums of per-label losses, for `propeller.graph.losses.LossTerm.total`.

Shape suffixes: M labels (or rows), K classes.
"""

from __future__ import annotations

import paddle
from paddle.nn import functional as F

from ernie_paddle.models.forms import Value
from propeller.graph.inputs import IGNORE


def cross_entropy_sum(logits_MK: Value, labels_M: Value, ignore: int = IGNORE) -> Value:
    """Sum of the cross-entropies of the rows whose label is not `ignore`.

    Args:
        logits_MK: [..., K]; the last axis holds the classes.
        labels_M: int64 [...], in [0, K) or `ignore`.

    Returns:
        float32, shape [].
    """
    return F.cross_entropy(logits_MK.astype("float32"), labels_M, ignore_index=ignore, reduction="sum")


def smoothed_cross_entropy(logits_MK: Value, labels_M: Value, smoothing: float) -> Value:
    """Cross-entropy with the target (1 - e) · onehot + e / K (Szegedy et al. 2016, section 7), for each row.

    Args:
        logits_MK: [..., K].
        labels_M: int64 [...], in [0, K); there is no label to ignore.
        smoothing: e, at least 0 and below 1.

    Returns:
        float32 [...], in nats.
    """
    logits_MK = logits_MK.astype("float32")
    exact_M = F.cross_entropy(logits_MK, labels_M.unsqueeze(-1), reduction="none").squeeze(-1)
    if smoothing == 0:
        return exact_M
    spread_M = paddle.logsumexp(logits_MK, axis=-1) - logits_MK.mean(axis=-1)
    return (1.0 - smoothing) * exact_M + smoothing * spread_M


def correct_sum(logits_MK: Value, labels_M: Value) -> Value:
    """Number of rows whose largest logit is at the label, float32, shape []; ignored labels never count as correct."""
    return (logits_MK.argmax(-1) == labels_M).astype("float32").sum()


def squared_error_sum(predictions_M: Value, targets_M: Value, ignore: float | None = None) -> Value:
    """Sum of squared differences, float32, shape []; targets equal to `ignore` do not count."""
    difference_M = predictions_M.astype("float32") - targets_M
    if ignore is not None:
        difference_M = difference_M * (targets_M != ignore).astype("float32")
    return (difference_M**2).sum()


def sigmoid_cross_entropy_sum(logits: Value, targets: Value) -> Value:
    """Sum over all entries of the binary cross-entropy of sigmoid(logits) with 0/1 targets, float32, shape []."""
    return F.binary_cross_entropy_with_logits(logits.astype("float32"), targets, reduction="sum")
