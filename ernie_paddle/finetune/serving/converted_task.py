"""The task of a converted classifier: its source names the classes, and the user names the columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ernie_paddle.checkpoints.heads import SEQUENCE
from ernie_paddle.checkpoints.model_dir import ModelDir
from ernie_paddle.checkpoints.origin import read_origin
from ernie_paddle.finetune.metrics.table_metrics import CLASSIFICATION, REGRESSION
from ernie_paddle.finetune.task_type import TaskType, task_from_dict
from ernie_paddle.finetune.tasks.text_task import TextTask
from propeller.errors import UserError


def rebuilt_task(model: ModelDir, given: Mapping[str, Any], tell: Callable[[str], None]) -> TaskType | None:
    """Rebuild the task of a model from another project whose configuration describes its classifier.

    No configuration states the length of texts in training; a length is assumed and reported.

    Args:
        model: A model without a task of its own.
        given: Options of `ernie evaluate` or `ernie predict`: `text_a`, and optionally `text_b`, `header` and `label`.
        tell: Takes a line for the user.

    Returns:
        A classification or a regression; None if the source says too little, or has another head.

    Raises:
        UserError: The column of the text is not given.
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
    if "text_a" not in given:
        raise UserError(
            f"{model.path}: converted from another project, which does not store the columns of tables: give --text_a, "
            "for pairs also --text_b (and --label, if labels are read)"
        )
    max_length = min(TextTask.usual_length, model.config.max_length)
    text_a, text_b = given["text_a"], given.get("text_b")
    tell(
        f"{model.path}: converted; used as a {own['type']} of {text_a}"
        + (f" and {text_b}" if text_b else "")
        + f", truncated to {max_length} tokens"
    )
    columns = {"text_a": text_a, "text_b": text_b, "label": given.get("label", "label")}
    settings = {**own, **columns, "max_length": max_length, "header": given.get("header", True)}
    return task_from_dict(settings, str(model.path)).with_layout(model.config.layout)
