"""The interface of a downstream task for the training loop, evaluation, prediction and export; the table of types.

A new type is one file with one such class, and one line in `TASK_TYPES`.
"""

from __future__ import annotations

import argparse
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.checkpoints.heads import FoundHead
from ernie_paddle.checkpoints.model_dir import TASK, ModelDir
from ernie_paddle.option_kinds import Option
from propeller.errors import UserError
from propeller.settings import unknown_name
from propeller.values import Arrays
from reader.batches.rows import BERT_LAYOUT, RowLayout
from reader.tables.table import READABLE, no_rows, none_usable, refusal
from reader.tokenizers.base import Tokenizer

if TYPE_CHECKING:
    from ernie_paddle.models.config import ErnieConfig
    from propeller.graph.inputs import Input
    from propeller.graph.losses import LossTerm

FORMATS = (*READABLE, "conll", "squad")
"""Formats of labelled data: tables, columns of tokens and tags (labelling), SQuAD's JSON (question answering)."""

LABEL = "labels"
"""Name of the input with the label of each row, if rows have one."""
LABEL_WEIGHTS = "label_weights"
"""Name of the input with the weight of each row, if classes have weights."""

_Self = TypeVar("_Self", bound="TaskType")

TASK_TYPES: dict[str, str] = {
    "classification": "ernie_paddle.finetune.tasks.classification:Classification",
    "labelling": "ernie_paddle.finetune.tasks.labelling:Labelling",
    "multiple_choice": "ernie_paddle.finetune.tasks.multiple_choice:MultipleChoice",
    "question_answering": "ernie_paddle.finetune.tasks.question_answering:QuestionAnswering",
    "regression": "ernie_paddle.finetune.tasks.regression:Regression",
    "retrieval": "ernie_paddle.finetune.tasks.retrieval:Retrieval",
    "span_classification": "ernie_paddle.finetune.tasks.span_classification:SpanClassification",
}


class Dataset(Protocol):
    """Examples of a task as rows of the model's input, ready to be batched; a long example may be several rows."""

    @property
    def source(self) -> str:
        """Name of the file."""
        ...

    @property
    def lines(self) -> Sequence[int]:
        """The line (or other unit, see `TaskType.counted`) of the example of each row."""
        ...

    @property
    def lengths(self) -> NDArray[np.int32]:
        """The length of each row in the model's input."""
        ...

    @property
    def problems(self) -> Sequence[tuple[int, str]]:
        """(line, reason) of unusable examples."""
        ...

    @property
    def mistakes(self) -> Sequence[tuple[int, str]]:
        """The `problems` that strict reading refuses; without strict reading these examples are not scored."""
        ...

    @property
    def uncounted(self) -> int:
        """The number of examples of the file that are not scored."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...

    @property
    def examples(self) -> int:
        """The number of examples that a score counts."""
        ...

    def describe(self) -> str:
        """A description of the amount of data, for the user."""
        ...

    def for_training(self) -> Dataset:
        """The rows with labels that can be learnt from."""
        ...

    def content(self) -> Sequence[NDArray[Any]]:
        """All arrays that training depends on, to recognize the same data."""
        ...


class TaskType(ABC):
    """One kind of downstream task with its settings (columns, labels, length); a subclass is a frozen dataclass.

    Attributes:
        type: Name of the type.
        options: Fine-tuning options of the type, in addition to the shared ones (`ernie_paddle.finetune.options`).
        metric: Metric that selects the best checkpoint.
        usual_length: Default of `max_length`.
        counted: Unit that the numbers of `Dataset.lines` and `problems` count.
        position_outputs: The `outputs` that have an axis of positions, [B, T, …].
        in_percent: Whether `score` gives its metrics in percent instead of fractions.
    """

    type: ClassVar[str]
    options: ClassVar[tuple[Option, ...]]
    usual_length: ClassVar[int] = 128
    counted: ClassVar[str] = "line"
    position_outputs: ClassVar[tuple[str, ...]] = ()
    in_percent: ClassVar[bool] = False
    metric: str

    # ---------------------------------------------------------------- settings

    @classmethod
    @abstractmethod
    def from_options(cls, options: argparse.Namespace) -> TaskType:
        """Build the task from the options of `ernie finetune`; may read the training file to discover labels."""

    @classmethod
    @abstractmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> TaskType:
        """Build the task from the result of `to_dict` (task.json of a model directory)."""

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data, including the type's name: all that prediction needs besides model and tokenizer.

        The usual layout of rows is omitted, as in files of earlier versions.
        """
        plain = asdict(self)  # type: ignore[call-overload]
        if plain.get("layout") == asdict(BERT_LAYOUT):
            del plain["layout"]
        return {"type": self.type, **plain}

    def with_layout(self: _Self, layout: RowLayout) -> _Self:
        """These settings for a model that joins the texts of a row in this way; unchanged if rows hold one text."""
        return self

    def setting_of(self, name: str, value: Any) -> Any:
        """Convert the value of the option `name` to the setting of this name, for tables with other columns."""
        return tuple(value) if isinstance(value, list) else value

    def remarks(self, options: argparse.Namespace) -> list[str]:
        """Remarks for the user about settings that were derived from the training table."""
        return []

    # ---------------------------------------------------------------- data

    @abstractmethod
    def read(
        self, path: str | Path, tokenizer: Tokenizer, *, labelled: bool, strict: bool, format: str = "auto"
    ) -> Any:
        """Read and encode a table as a `Dataset`.

        With `strict` an unusable row raises DataError; otherwise it is recorded in `problems`.
        """

    @abstractmethod
    def stream(self, path: str | Path, tokenizer: Tokenizer, *, chunk_rows: int, format: str = "auto") -> Iterator[Any]:
        """Read and encode an unlabelled table in chunks, each a `Dataset`; unusable rows are recorded in `problems`."""

    @classmethod
    @abstractmethod
    def texts(cls, path: str | Path, options: Mapping[str, Any]) -> Iterator[str]:
        """The texts of a training table; a text that consecutive rows share is returned once.

        Args:
            path: The table.
            options: Options of fine-tuning; missing ones have their defaults.
        """

    @abstractmethod
    def inputs(self, labelled: bool) -> Sequence[Input]:
        """The model's inputs; with `labelled`, the label input too."""

    @abstractmethod
    def batch(self, data: Any, rows: NDArray[np.int64], labelled: bool) -> Arrays:
        """The arrays for these rows of the data, padded, under the names of `inputs`."""

    # ---------------------------------------------------------------- graph

    @abstractmethod
    def layer(self, config: ErnieConfig) -> Any:
        """The encoder with this task's head (a paddle Layer)."""

    @abstractmethod
    def losses(self, layer: Any, values: Mapping[str, Any]) -> list[LossTerm]:
        """The training loss in the graph."""

    def divergence(self, first: Any, second: Any, values: Mapping[str, Any], weight: float) -> list[LossTerm]:
        """The divergence of two outputs of the layer for the same rows, as terms of the loss (R-Drop).

        A type that implements this method offers the option `rdrop`.
        """
        raise NotImplementedError

    @abstractmethod
    def outputs(self, layer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of the model in the graph, for each row."""

    # ---------------------------------------------------------------- answers

    @abstractmethod
    def score(self, outputs: Arrays, data: Any) -> dict[str, float]:
        """Metrics of these outputs (rows in the order of the data); `metric` is one of the keys."""

    @abstractmethod
    def baseline(self, data: Any) -> dict[str, float]:
        """The metrics of the best constant prediction for all rows (majority-class baseline, or mean)."""

    def tuned(self: _Self, outputs: Arrays, data: Any) -> _Self:
        """This task with settings fitted to the development data; unchanged if it has no such settings."""
        return self

    @abstractmethod
    def answers(self, outputs: Arrays, data: Any) -> Mapping[Any, dict[str, Any]]:
        """The prediction columns of each example, by line, or by (line, part) for further rows of a line."""

    @abstractmethod
    def answer_columns(self) -> list[str]:
        """Names of the prediction columns, in order."""

    @abstractmethod
    def head(self) -> FoundHead:
        """The head in terms of other projects, for the conversion of weights."""


def layout_of(settings: Mapping[str, Any]) -> dict[str, RowLayout]:
    """The keyword argument `layout` from plain data."""
    return {"layout": RowLayout(**settings.get("layout", {}))}


def require_usable(data: Dataset) -> None:
    """Refuse a table that is not entirely usable.

    Raises:
        DataError: A row is unusable (the message names file and line), or there is no row.
    """
    if data.problems:
        raise refusal(data.source, data.problems)
    if not len(data):
        raise no_rows(data.source)


def require_some(data: Dataset, counted: str) -> None:
    """Refuse a table without any usable row.

    Args:
        data: The table.
        counted: Unit that the numbers of its problems count.

    Raises:
        DataError: There is no usable row; the message says why the first one is unusable.
    """
    if not len(data):
        raise none_usable(data.source, data.problems, counted)


def task_class(name: str) -> type[TaskType]:
    """The class of a task type by its name.

    Raises:
        UserError: There is no such type; the message suggests the closest one.
    """
    if name not in TASK_TYPES:
        raise unknown_name("task type", name, TASK_TYPES, "--type")
    module, _, attribute = TASK_TYPES[name].partition(":")
    found: type[TaskType] = getattr(importlib.import_module(module), attribute)
    return found


def task_from_dict(settings: Mapping[str, Any], where: str) -> TaskType:
    """Rebuild a task from its settings in task.json (`where`: name of the file, for messages).

    Raises:
        UserError: The settings are damaged, or their task type is unknown.
    """
    if "type" not in settings:
        raise UserError(f"{where}: the task type is missing")
    kind = task_class(str(settings["type"]))
    try:
        return kind.from_dict(settings)
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{where}: damaged or of another version ({error!r})") from None


def task_of(model: ModelDir) -> TaskType | None:
    """The task that a model was fine-tuned for; None for one that was only pre-trained.

    Raises:
        UserError: The settings are damaged.
    """
    return None if model.task_settings is None else task_from_dict(model.task_settings, str(model.path / TASK))


def require_task(model: ModelDir) -> TaskType:
    """The task that a model was fine-tuned for.

    Raises:
        UserError: The model was never fine-tuned, or its settings are damaged.
    """
    return task_from_dict(model.require_task_settings(), str(model.path / TASK))
