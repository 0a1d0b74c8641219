"""What a downstream task is to the training loop, evaluation, prediction and export; and the table of types.

A new type is one file with one class like this, and one line in `TASK_TYPES`.
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
"""Name of the input that holds the label of each row, where rows have one."""
LABEL_WEIGHTS = "label_weights"
"""Name of the input that holds the weight of each row, where classes have weights."""

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
        """For each row the line (or whatever `TaskType.counted` says) of its example."""
        ...

    @property
    def lengths(self) -> NDArray[np.int32]:
        """The length of each row in the model's input."""
        ...

    @property
    def problems(self) -> Sequence[tuple[int, str]]:
        """(line, reason) of the examples that cannot be used."""
        ...

    @property
    def mistakes(self) -> Sequence[tuple[int, str]]:
        """Those of `problems` that strict reading refuses; without it they take no part in a score."""
        ...

    @property
    def uncounted(self) -> int:
        """How many examples of the file take no part in a score."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...

    @property
    def examples(self) -> int:
        """The number of examples that a score counts."""
        ...

    def describe(self) -> str:
        """How much there is, for the person who runs it."""
        ...

    def for_training(self) -> Dataset:
        """The rows with labels that can be learnt from."""
        ...

    def content(self) -> Sequence[NDArray[Any]]:
        """All arrays that training depends on, to recognise the same data again."""
        ...


class TaskType(ABC):
    """One kind of downstream task with its settings (columns, labels, length); a subclass is a frozen dataclass.

    Attributes:
        type: its name.
        options: its own options of fine-tuning, beside those of every run (`ernie_paddle.finetune.options`).
        metric: the metric that decides which checkpoint is best.
        usual_length: the `max_length` of a task where none is given.
        counted: what the numbers of `Dataset.lines` and `problems` count.
        position_outputs: those of `outputs` that have an axis of positions, [B, T, …].
        in_percent: whether `score` gives its metrics in percent, not as shares.
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
        """From the options of `ernie finetune`; may read the training file to discover labels."""

    @classmethod
    @abstractmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> TaskType:
        """From what `to_dict` wrote (task.json of a model directory)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain settings, with the name of the type: all that prediction needs beside the model and the tokenizer.

        A usual layout of rows is left out, as in files of earlier versions.
        """
        plain = asdict(self)  # type: ignore[call-overload]
        if plain.get("layout") == asdict(BERT_LAYOUT):
            del plain["layout"]
        return {"type": self.type, **plain}

    def with_layout(self: _Self, layout: RowLayout) -> _Self:
        """These settings for a model that joins the texts of a row in this way; itself where rows hold one text."""
        return self

    def setting_of(self, name: str, value: Any) -> Any:
        """The value of the setting `name` from that of the option of this name, for tables with other columns."""
        return tuple(value) if isinstance(value, list) else value

    def remarks(self, options: argparse.Namespace) -> list[str]:
        """What a person should know of the settings that were worked out from the training table."""
        return []

    # ---------------------------------------------------------------- data

    @abstractmethod
    def read(
        self, path: str | Path, tokenizer: Tokenizer, *, labelled: bool, strict: bool, format: str = "auto"
    ) -> Any:
        """Read and encode a table as a `Dataset`.

        With `strict` an unusable row raises DataError; otherwise it is kept in `problems`.
        """

    @abstractmethod
    def stream(self, path: str | Path, tokenizer: Tokenizer, *, chunk_rows: int, format: str = "auto") -> Iterator[Any]:
        """Read and encode an unlabelled table in chunks, each a `Dataset`; unusable rows are kept in `problems`."""

    @classmethod
    @abstractmethod
    def texts(cls, path: str | Path, options: Mapping[str, Any]) -> Iterator[str]:
        """The texts of a training table, one that several rows share once for all that follow each other.

        Args:
            path: the table.
            options: of fine-tuning; those that are left out have their defaults.
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
        """How far two answers of the layer to the same rows are apart, as terms of the loss (R-Drop).

        A type that has this offers the option `rdrop`.
        """
        raise NotImplementedError

    @abstractmethod
    def outputs(self, layer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the model answers in the graph, row by row."""

    # ---------------------------------------------------------------- answers

    @abstractmethod
    def score(self, outputs: Arrays, data: Any) -> dict[str, float]:
        """Metrics of these outputs (rows in the order of the data); `metric` is one of the keys."""

    @abstractmethod
    def baseline(self, data: Any) -> dict[str, float]:
        """The same metrics for the best answer that is the same for every row (majority-class baseline, mean)."""

    def tuned(self: _Self, outputs: Arrays, data: Any) -> _Self:
        """This task with the settings that are fitted to the development data; itself where there are none."""
        return self

    @abstractmethod
    def answers(self, outputs: Arrays, data: Any) -> Mapping[Any, dict[str, Any]]:
        """The answer columns of each example, by its line, or by (line, part) for the later rows of a line."""

    @abstractmethod
    def answer_columns(self) -> list[str]:
        """Names of the answer columns, in order."""

    @abstractmethod
    def head(self) -> FoundHead:
        """The head as other projects know it, for weights that are converted."""


def layout_of(settings: Mapping[str, Any]) -> dict[str, RowLayout]:
    """The keyword argument `layout` from plain data."""
    return {"layout": RowLayout(**settings.get("layout", {}))}


def require_usable(data: Dataset) -> None:
    """Refuse a table that is not usable as a whole.

    Raises:
        DataError: an unusable row (names file and line), or no row at all.
    """
    if data.problems:
        raise refusal(data.source, data.problems)
    if not len(data):
        raise no_rows(data.source)


def require_some(data: Dataset, counted: str) -> None:
    """Refuse a table of which nothing is left without the unusable rows.

    Args:
        data: the table.
        counted: what the numbers of its problems count.

    Raises:
        DataError: there is no row; says why the first one is unusable.
    """
    if not len(data):
        raise none_usable(data.source, data.problems, counted)


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
    """Rebuild a task from its settings, as written in task.json (`where`: the file, for messages).

    Raises:
        UserError: the settings are damaged, or of a task type that is not known.
    """
    if "type" not in settings:
        raise UserError(f"{where}: no task type in it")
    kind = task_class(str(settings["type"]))
    try:
        return kind.from_dict(settings)
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{where}: damaged or of another version ({error!r})") from None


def task_of(model: ModelDir) -> TaskType | None:
    """The task that a model was fine-tuned for; None for one that was only pre-trained.

    Raises:
        UserError: its settings are damaged.
    """
    return None if model.task_settings is None else task_from_dict(model.task_settings, str(model.path / TASK))


def require_task(model: ModelDir) -> TaskType:
    """The task that a model was fine-tuned for.

    Raises:
        UserError: the model was never fine-tuned, or its settings are damaged.
    """
    return task_from_dict(model.require_task_settings(), str(model.path / TASK))
