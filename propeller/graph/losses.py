"""The results of a training graph: sums of losses, with the labels over which they are averaged."""

from __future__ import annotations

from dataclasses import dataclass

from propeller.values import Value


@dataclass(frozen=True)
class LossTerm:
    """One term of the trained loss: the sum of per-label losses over the labels of one micro-batch.

    The Learner divides it by the number of labels (or the sum of their weights) in the whole step, over all
    micro-batches of all ranks, so that the gradients of micro-batches and ranks simply add up to the gradient of the
    global batch, however it was divided and however unevenly its labels are spread. Division inside the graph by the
    labels of the micro-batch would give another gradient.

    Attributes:
        name: name of the term in logs; unique in a task.
        total: float scalar (shape []), the SUM of the losses of all labels.
        labels: name of the label Input, whose entries different from its ``ignore`` are counted as labels; or name of
            an Input of ``weights``, whose sum replaces that number. Then ``hits`` are weighted, too.
        weight: factor of the mean of this term in the trained loss.
        hits: number of right predictions among the labels (scalar, shape []), for an accuracy; None for no accuracy.
    """

    name: str
    total: Value
    labels: str
    weight: float = 1.0
    hits: Value | None = None
