"""Weights of classes: the loss of a batch is sum(w · loss) / sum(w), where w is the weight of a row's class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ernie_paddle.finetune.task_type import Dataset, TaskType
from ernie_paddle.finetune.tasks.classification import LABEL_WEIGHTS, Classification
from ernie_paddle.finetune.tasks.multiple_choice import MultipleChoice
from ernie_paddle.finetune.tasks.text_task import TextDataset
from propeller.errors import UserError
from propeller.graph.inputs import Input

BALANCED = "balanced"
WEIGHT_INPUT = Input(LABEL_WEIGHTS, (None,), "float32", ignore=0, weights=True)
"""Weight of each row [B]; the loss is divided by the sum over all micro-batches and ranks of a step."""


def class_weights(asked: Sequence[str], task: TaskType, train: Dataset) -> tuple[float, ...]:
    """The weight of each class, in the order of the task's labels.

    Args:
        asked: a number for each class, or the one word "balanced": n / (k · n_c) for a class with n_c of n rows, k
            being the number of classes, so that each class has the same share in the loss of all rows.
        task: what is trained.
        train: its training data.

    Raises:
        UserError: the task has no classes of rows, the numbers do not fit the classes, or a class has no row.
    """
    if isinstance(task, MultipleChoice):
        raise UserError(
            f"--class_weights is for classification; the labels of {task.type} are the places of choices, which mean "
            "nothing by themselves; leave it out"
        )
    if not isinstance(task, Classification):
        raise UserError(f"--class_weights is for classification; {task.type} has no classes of rows to weigh")
    names = ", ".join(task.labels[:10]) + (", …" if len(task.labels) > 10 else "")
    if list(asked) == [BALANCED]:
        assert isinstance(train, TextDataset)
        assert train.labels is not None
        rows_K = np.bincount(train.labels, minlength=len(task.labels))
        if not rows_K.all():
            empty = task.labels[int(np.argmin(rows_K))]
            raise UserError(f"--class_weights balanced: no row of {train.source} has the label {empty!r}; give numbers")
        return tuple((len(train) / (len(task.labels) * rows_K)).tolist())
    try:
        weights = tuple(float(text) for text in asked)
    except ValueError:
        weights = ()
    if not weights or not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise UserError(f"--class_weights {','.join(asked)}: give numbers above 0, or {BALANCED}")
    if len(weights) != len(task.labels):
        raise UserError(f"--class_weights: {len(weights)} numbers for {len(task.labels)} labels, which are {names}")
    return weights
