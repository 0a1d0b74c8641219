"""What a downstream task is to the training loop, evaluation, prediction and export; and the table of types.

A new type is one file with one class like this, and one line in `TASK_TYPES`.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from propeller.errors import UserError
from propeller.settings import unknown_name
from reader.tokenizer import Tokenizer

if TYPE_CHECKING:
    from ernie_paddle.models.config import ErnieConfig
    from propeller.inputs import Input
    from propeller.losses import LossTerm

Arrays = dict[str, NDArray[Any]]

TASK_TYPES: dict[str, str] = {
    "classification": "ernie_paddle.finetune.classification:Classification",
    "regression": "ernie_paddle.finetune.regression:Regression",
}


class Dataset(Protocol):
    """Examples of a task, ready to be batched; row k is the k-th usable row of the file."""

    source: str
    lines: Sequence[int]
    lengths: NDArray[np.int32]
    problems: Sequence[tuple[int, str]]

    def __len__(self) -> int:
        """The number of usable rows."""
        ...

    def content(self) -> Sequence[NDArray[Any]]:
        """All arrays that training depends on, to recognise the same data again."""
        ...


class TaskType(Protocol):
    """One kind of downstream task with its settings (columns, labels, length)."""

    type: str
    metric: str

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> TaskType:
        """From the options of `ernie finetune`; may read the training file to discover labels."""
        ...

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> TaskType:
        """From what `to_dict` wrote (task.json of a model directory)."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain settings: all that prediction needs beside the model and the tokenizer."""
        ...

    def read(
        self, path: str | Path, tokenizer: Tokenizer, *, labelled: bool, strict: bool, format: str = "auto"
    ) -> Dataset:
        """Read and encode a table. `strict`: an unusable row raises DataError; otherwise it is kept in `problems`."""
        ...

    def stream(
        self, path: str | Path, tokenizer: Tokenizer, *, chunk_rows: int, format: str = "auto"
    ) -> Iterator[Dataset]:
        """Read and encode an unlabelled table in chunks; unusable rows are kept in `problems`."""
        ...

    def inputs(self, labelled: bool) -> Sequence[Input]:
        """The model's inputs; with `labelled`, the label input too."""
        ...

    def batch(self, data: Dataset, rows: NDArray[np.int64], labelled: bool) -> Arrays:
        """The arrays for these rows of the data, padded, under the names of `inputs`."""
        ...

    def layer(self, config: ErnieConfig) -> Any:
        """The encoder with this task's head (a paddle Layer)."""
        ...

    def losses(self, layer: Any, values: Mapping[str, Any]) -> list[LossTerm]:
        """The training loss in the graph."""
        ...

    def outputs(self, layer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the model answers in the graph, row by row."""
        ...

    def score(self, outputs: Arrays, data: Dataset) -> dict[str, float]:
        """Metrics of these outputs (rows in the order of the data); `metric` is one of the keys."""
        ...

    def baseline(self, data: Dataset) -> dict[str, float]:
        """The same metrics for the best answer that looks at no input (majority class, mean)."""
        ...

    def answers(self, outputs: Arrays) -> list[dict[str, Any]]:
        """One mapping of answer columns for each row."""
        ...

    def answer_columns(self) -> list[str]:
        """Names of the answer columns, in order."""
        ...


def task_class(name: str) -> type[TaskType]:
    """The class of a task type by its name.

    Raises:
        UserError: there is no such type; names the nearest.
    """
    if name not in TASK_TYPES:
        raise unknown_name("task type", name, TASK_TYPES, "--type")
    module, _, attribute = TASK_TYPES[name].partition(":")
    found: type[TaskType] = getattr(importlib.import_module(module), attribute)
    return found


def task_from_dict(settings: Mapping[str, Any], where: str) -> TaskType:
    """Rebuild a task from its settings, as written in task.json (`where`: the file, for messages)."""
    if "type" not in settings:
        raise UserError(f"{where}: no task type in it")
    return task_class(str(settings["type"])).from_dict(settings)
