"""The base of task types on tables: one or two text columns, a label column, and unusable rows."""

from __future__ import annotations

import argparse
import itertools
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ernie_paddle import option_kinds as kinds
from ernie_paddle.finetune.task_type import LABEL, TaskType, layout_of, require_usable
from ernie_paddle.models.inputs import TEXT_INPUTS
from ernie_paddle.option_kinds import Option
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.values import Arrays
from reader.batches.rows import BERT_LAYOUT, Encoded, RowLayout, encode_rows, pad_rows
from reader.tables.cells import UnusableCellError, text_problem
from reader.tables.nested import NESTED
from reader.tables.table import Row, open_table
from reader.tables.where import NoLabel, Selection, Where
from reader.tokenizers.base import Tokenizer

_Self = TypeVar("_Self", bound="TextTask")
_FIRST = "; a|b (for any column) is the first of both that a table has"

HEADER = Option(
    "header",
    bool,
    True,
    "the first row names the columns; otherwise their names are 1, 2, …",
    elsewhere="whether the first row names the columns",
)
TEXT_A = Option(
    "text_a", str, None, "column of the (first) text" + _FIRST, elsewhere="column of the (first) text in this table"
)
TEXT_B = Option(
    "text_b", str, None, "column of the second text, for pairs", elsewhere="column of the second text in this table"
)
RDROP = Option(
    "rdrop", kinds.non_negative_number, 0.0, "R-Drop: weight of the divergence between two dropout samples; 0: off"
)

TEXT_OPTIONS = (
    TEXT_A,
    TEXT_B,
    Option(
        "label",
        str,
        None,
        "column of the label or score",
        shown_default="label",
        elsewhere="column of the label, score or tags in this table",
        of_labels=True,
    ),
    Option(
        "where",
        str,
        None,
        "select rows by column=value, such as language=zh; a table without the column is used entirely",
        elsewhere="select rows by column=value, such as language=zh, if the table has the column",
    ),
    Option(
        "no_label",
        kinds.comma_list,
        None,
        "labels that mean that a row has no label, such as - in OCNLI; these rows are skipped and counted",
        elsewhere="labels that mean that a row has no label, such as - in OCNLI; these rows are skipped and counted",
        of_labels=True,
    ),
    HEADER,
    RDROP,
)
"""The options of every task on one or two texts."""


@dataclass(frozen=True)
class TextDataset:
    """The usable rows of a table, encoded.

    Attributes:
        source: Name of the file.
        lines: Line of each row.
        encoded: The rows.
        labels: Label of each row; None without labels.
        problems: (line, reason) of unusable rows.
        pad_id: Id of [PAD].
        parts: Number of each row within its line, from 0.
        kept: Other columns that the metrics need, only with labels.
        row_inputs: Number of model inputs of a row; the inputs of a row follow each other in `encoded`.
        selection: Description in parentheses of the selected rows of the table; empty: all.
        unlabelled: Number of rows of the table that are marked as having no label.
        problem_parts: Number of each of `problems` within its line, like `parts`.
    """

    source: str
    lines: list[int]
    encoded: Encoded
    labels: NDArray[Any] | None
    problems: list[tuple[int, str]]
    pad_id: int
    parts: list[int]
    kept: dict[str, list[Any]] = field(default_factory=dict)
    row_inputs: int = 1
    selection: str = ""
    unlabelled: int = 0
    problem_parts: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        """The number of usable rows."""
        return len(self.lines)

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Length of each usable row in the model's input; for several inputs their total, all padded to the longest."""
        longest = self.encoded.lengths.reshape(-1, self.row_inputs).max(axis=1)
        return np.asarray(longest * self.row_inputs, np.int32)

    @property
    def places(self) -> list[int | tuple[int, int]]:
        """The line of each row, as (line, part) for further rows of a line."""
        return [(line, part) if part else line for line, part in zip(self.lines, self.parts, strict=True)]

    @property
    def examples(self) -> int:
        """The number of usable rows."""
        return len(self)

    @property
    def mistakes(self) -> list[tuple[int, str]]:
        """All of `problems`."""
        return self.problems

    @property
    def uncounted(self) -> int:
        """The number of unusable rows plus rows without a label."""
        return len(self.problems) + self.unlabelled

    def describe(self) -> str:
        """The number of usable rows, and the selection."""
        return f"{len(self):,} rows{self.selection}"

    def for_training(self) -> TextDataset:
        """The data itself, as every row has its label."""
        return self

    def content(self) -> list[NDArray[Any]]:
        """The pieces, segments, labels and kept columns of all rows."""
        arrays: list[NDArray[Any]] = [self.encoded.ids, self.encoded.segments]
        if self.kept:
            arrays.append(np.frombuffer(json.dumps(self.kept).encode(), np.uint8))
        return arrays if self.labels is None else [*arrays, self.labels]


@dataclass(frozen=True)
class TextTask(TaskType):
    """The settings of all tasks on one or two texts.

    Attributes:
        text_a: Column of the (first) text. Any column may be `a|b`, which is the first of both that a table has.
        text_b: Column of the second text; None for single texts.
        label: Column of the label; prediction does not need it.
        max_length: Tokens of the longest row, including [CLS] and [SEP].
        metric: Metric that selects the best checkpoint.
        header: Whether tables have a header (otherwise columns are "1", "2", …).
        where: "column=value" that selects rows, in tables that have this column; None: all rows.
        no_label: Labels that mean that a row has no label; such rows are neither trained on nor scored.
        nested: Format of the training table, if its extension does not determine it (a key of
            `reader.tables.nested.NESTED`); it is also the default for other tables. None: the extension determines it.
        layout: How the model joins two texts.
    """

    options: ClassVar[tuple[Option, ...]] = TEXT_OPTIONS
    metrics: ClassVar[tuple[str, ...]]

    text_a: str
    text_b: str | None
    label: str
    max_length: int
    metric: str
    header: bool
    where: str | None = field(default=None, kw_only=True)
    no_label: tuple[str, ...] = field(default=(), kw_only=True)
    nested: str | None = field(default=None, kw_only=True)
    layout: RowLayout = field(default=BERT_LAYOUT, kw_only=True)

    def __post_init__(self) -> None:
        if self.where is not None:
            Where.parse(self.where)
        if self.metric not in self.known_metrics:
            raise UserError(f"metric {self.metric!r} is not a metric of {self.type}: {', '.join(self.known_metrics)}")
        if self.max_length < 8:
            raise UserError(f"max_length must be at least 8; found {self.max_length}")

    @classmethod
    def common_options(cls, options: argparse.Namespace) -> dict[str, Any]:
        """The settings of this class from the options of `ernie finetune`.

        Raises:
            UserError: The text column is not given.
        """
        if options.text_a is None:
            raise UserError(f"--text_a is missing: {cls.type} give the name of the text column")
        return {
            "text_a": options.text_a,
            "text_b": options.text_b,
            "label": options.label or "label",
            "max_length": options.max_length,
            "metric": options.metric or cls.metrics[0],
            "header": options.header,
            "where": options.where,
            "no_label": tuple(options.no_label or ()),
            "nested": options.format if options.format in NESTED else None,
        }

    def with_layout(self: _Self, layout: RowLayout) -> _Self:
        """These settings for a model that joins the texts of a row in this way."""
        return replace(self, layout=layout)

    @classmethod
    def settings_of(cls, plain: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of the constructor from the result of `to_dict`."""
        known = {key: value for key, value in plain.items() if key != "type"}
        return {**known, "no_label": tuple(known.get("no_label", ())), **layout_of(known)}

    @property
    def condition(self) -> Where | None:
        """The condition that selects rows."""
        return None if self.where is None else Where.parse(self.where)

    @property
    def known_metrics(self) -> tuple[str, ...]:
        """The metrics that are available with these settings."""
        return self.metrics

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of texts."""
        return (self.text_a,) if self.text_b is None else (self.text_a, self.text_b)

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """The columns that every row needs, with or without a label."""
        return self.text_columns

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Further columns that the metrics, and therefore all labelled rows, need."""
        return ()

    def row_problem(self, row: Row) -> str:
        """The reason why the texts of a row cannot be used; empty if they can."""
        return text_problem(row, self.text_a, self.text_b)

    @abstractmethod
    def parse_label(self, cell: Any) -> float:
        """The number of a label cell.

        Raises:
            UnusableCellError: The cell is not a label.
        """

    @property
    @abstractmethod
    def label_input(self) -> Input:
        """The label input, [B]."""

    @classmethod
    def columns_of_texts(cls, options: Mapping[str, Any]) -> list[str]:
        """The columns that hold texts, from the options of fine-tuning."""
        return [options[name] for name in ("text_a", "text_b") if options.get(name) is not None]

    @classmethod
    def texts(cls, path: str | Path, options: Mapping[str, Any]) -> Iterator[str]:
        """The texts of all columns, row by row; unusable rows are skipped."""
        columns, where = cls.columns_of_texts(options), options.get("where")
        with open_table(path, str(options.get("format", "auto")), bool(options.get("header", True))) as table:
            last: dict[str, Any] = {}
            for row in Selection(table.choose(*columns).rows, Where.parse(where) if where else None):
                found = {column: row.cells[column] for column in columns if row.cells.get(column)}
                yield from (str(text) for column, text in found.items() if text != last.get(column))
                last = found

    def inputs(self, labelled: bool) -> Sequence[Input]:
        """`input_ids`, `segment_ids`, `attention_mask` [B, T], and with `labelled` the labels [B]."""
        return (*TEXT_INPUTS, self.label_input) if labelled else TEXT_INPUTS

    def read(
        self, path: str | Path, tokenizer: Tokenizer, *, labelled: bool, strict: bool, format: str = "auto"
    ) -> TextDataset:
        """Read a whole table.

        Raises:
            DataError: A column is missing, or no row is selected; with `strict` also if a row is unusable (the
                message names file and line) or there is none.
        """
        with open_table(path, format, self.header) as table:
            table = table.choose(*self.needed_columns, *((self.label, *self.kept_columns) if labelled else ()))
            rows = Selection(table.rows, self.condition, NoLabel(self.label, self.no_label) if labelled else None)
            data = self._dataset(table.name, rows, tokenizer, labelled)
        rows.require_any(table.name)
        if strict:
            require_usable(data)
        return replace(data, selection=rows.describe(), unlabelled=rows.unlabelled)

    def stream(
        self, path: str | Path, tokenizer: Tokenizer, *, chunk_rows: int, format: str = "auto"
    ) -> Iterator[TextDataset]:
        """Read a table without labels in chunks, so that tables of any size can be predicted.

        Rows that are not selected are recorded as unusable, so that every row of the table is accounted for.
        """
        with open_table(path, format, self.header) as table:
            table = table.choose(*self.needed_columns)
            rows = table.rows if self.condition is None else self.condition.marked(table.rows)
            while chunk := list(itertools.islice(rows, chunk_rows)):
                yield self._dataset(table.name, chunk, tokenizer, labelled=False)

    def batch(self, data: TextDataset, rows: NDArray[np.int64], labelled: bool) -> Arrays:
        """Padded inputs of these rows, and with `labelled` their labels."""
        arrays: Arrays = pad_rows(data.encoded, rows, data.pad_id)
        if labelled:
            assert data.labels is not None
            arrays[LABEL] = data.labels[rows]
        return arrays

    def usable_rows(
        self, rows: Iterable[Row], labelled: bool, refused: list[tuple[Row, str]]
    ) -> Iterator[tuple[Row, float]]:
        """Yield usable rows with the numbers of their labels (0 without); unusable rows are added to `refused`."""
        for row in rows:
            problem, number = row.problem or self.row_problem(row), 0.0
            if not problem and labelled:
                missing = [column for column in self.kept_columns if row.cells.get(column) is None]
                try:
                    number = self.parse_label(row.cells.get(self.label))
                    problem = f"there is no column {missing[0]!r}" if missing else ""
                except UnusableCellError as error:
                    problem = f"column {self.label!r}: {error}"
            if problem:
                refused.append((row, problem))
            else:
                yield row, number

    def _dataset(self, source: str, rows: Iterable[Row], tokenizer: Tokenizer, labelled: bool) -> TextDataset:
        texts: list[list[str]] = [[] for _ in self.text_columns]
        kept: dict[str, list[Any]] = {column: [] for column in self.kept_columns} if labelled else {}
        labels: list[float] = []
        lines: list[int] = []
        parts: list[int] = []
        refused: list[tuple[Row, str]] = []
        for row, label in self.usable_rows(rows, labelled, refused):
            labels.append(label)
            lines.append(row.line)
            parts.append(row.part)
            for column, cells in (*zip(self.text_columns, texts, strict=True), *kept.items()):
                cells.append(row.cells[column])
        encoded = self._encoded(texts, tokenizer)
        numbers = np.asarray(labels, self.label_input.dtype) if labelled else None
        per_row = len(encoded) // max(1, len(lines))
        return TextDataset(
            source=source,
            lines=lines,
            encoded=encoded,
            labels=numbers,
            problems=[(row.line, problem) for row, problem in refused],
            pad_id=tokenizer.vocab.pad,
            parts=parts,
            kept=kept,
            row_inputs=per_row or 1,
            problem_parts=[row.part for row, _ in refused],
        )

    def _encoded(self, texts: Sequence[Sequence[str]], tokenizer: Tokenizer) -> Encoded:
        """The rows of these texts, one list for each of `text_columns`."""
        second = None if self.text_b is None else texts[1]
        return encode_rows(tokenizer, texts[0], second, self.max_length, self.layout)
