"""The task of a converted classifier: its source names the classes, and a person the columns."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ernie_paddle.checkpoints.heads import SEQUENCE
from ernie_paddle.checkpoints.model_dir import ModelDir
from ernie_paddle.checkpoints.origin import read_origin
from ernie_paddle.finetune.metrics.table_metrics import CLASSIFICATION, REGRESSION
from ernie_paddle.finetune.task_type import TaskType, task_from_dict
from ernie_paddle.finetune.tasks.text_task import TextTask
from propeller.errors import UserError


def rebuilt_task(model: ModelDir, options: argparse.Namespace) -> TaskType | None:
    """The task of a model from another project whose configuration says what its classifier answers.

    No configuration says how long texts were in training: that is assumed, and said on stderr.

    Args:
        model: one without a task of its own.
        options: of `ernie evaluate` or `ernie predict`, with `text_a`, `text_b`, `header` and perhaps `label`.

    Returns:
        A classification or a regression; None where the source says too little, or has another head.

    Raises:
        UserError: the column of the text is not given.
    """
    origin = read_origin(model.path)
    head = origin[1].head if origin is not None else None
    if head is None or head.kind != SEQUENCE:
        return None
    own: dict[str, Any] = {"type": "regression", "metric": REGRESSION[0]}
    if head.problem_type != "regression":
        if len(head.labels) < 2 or head.problem_type == "multi_label_classification":
            return None
        own = {"type": "classification", "metric": CLASSIFICATION[0], "labels": head.labels}
    if options.text_a is None:
        raise UserError(
            f"{model.path}: converted from another project, which does not keep the columns of tables: give --text_a, "
            "for pairs also --text_b (and --label, where labels are read)"
        )
    max_length = min(TextTask.usual_length, model.config.max_length)
    print(
        f"{model.path}: converted; taken for a {own['type']} of {options.text_a}"
        + (f" and {options.text_b}" if options.text_b else "")
        + f", cut at {max_length} pieces",
        file=sys.stderr,
    )
    columns = {"text_a": options.text_a, "text_b": options.text_b, "label": getattr(options, "label", None) or "label"}
    settings = {**own, **columns, "max_length": max_length, "header": options.header is not False}
    return task_from_dict(settings, str(model.path)).with_layout(model.config.layout)
