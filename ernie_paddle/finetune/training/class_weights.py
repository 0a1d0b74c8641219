"""Weights of classes: the loss of a batch is sum(w · loss) / sum(w), where w is the weight of a row's class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ernie_paddle.finetune.task_type import LABEL_WEIGHTS
from ernie_paddle.finetune.tasks.text_task import TextDataset
from propeller.errors import UserError
from propeller.graph.inputs import Input

BALANCED = "balanced"
WEIGHT_INPUT = Input(LABEL_WEIGHTS, (None,), "float32", ignore=0, weights=True)
"""Weight of each row [B]; the loss is divided by the sum over all micro-batches and ranks of a step."""


def class_weights(asked: Sequence[str], labels: Sequence[str], train: TextDataset) -> tuple[float, ...]:
    """The weight of each class, in the order of the labels.

    Args:
        asked: A number for each class, or the single word "balanced": n / (k · n_c) for a class with n_c of n rows,
            where k is the number of classes, so that each class has the same share in the loss of all rows.
        labels: The classes.
        train: The training data with class numbers.

    Raises:
        UserError: The numbers do not fit the classes, or a class has no row.
    """
    if list(asked) == [BALANCED]:
        assert train.labels is not None
        rows_K = np.bincount(train.labels, minlength=len(labels))
        if not rows_K.all():
            empty = labels[int(np.argmin(rows_K))]
            raise UserError(f"--class_weights balanced: no row of {train.source} has the label {empty!r}; give numbers")
        return tuple((len(train) / (len(labels) * rows_K)).tolist())
    try:
        weights = tuple(float(text) for text in asked)
    except ValueError:
        weights = ()
    if not weights or not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise UserError(f"--class_weights {','.join(asked)}: give numbers above 0, or {BALANCED}")
    if len(weights) != len(labels):
        names = ", ".join(labels[:10]) + (", …" if len(labels) > 10 else "")
        raise UserError(
            f"--class_weights: there are {len(weights)} numbers for {len(labels)} labels, which are {names}"
        )
    return weights
