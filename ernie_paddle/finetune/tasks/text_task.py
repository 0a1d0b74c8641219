"""What the task types on tables share: one or two text columns, a label column, and rows that cannot be used."""

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
_FIRST = "; a|b, here and for other columns: the first that a table has"

HEADER = Option(
    "header",
    bool,
    True,
    "the first row names the columns; without, columns are called 1, 2, …",
    elsewhere="whether the first row names the columns",
)
TEXT_A = Option("text_a", str, None, "column of the (first) text" + _FIRST, elsewhere="column that is --text_a here")
TEXT_B = Option("text_b", str, None, "column of the second text, for pairs", elsewhere="column that is --text_b here")
RDROP = Option("rdrop", kinds.non_negative_number, 0.0, "R-Drop: weight of the divergence of two passes; 0: off")

TEXT_OPTIONS = (
    TEXT_A,
    TEXT_B,
    Option(
        "label",
        str,
        None,
        "column of the label or score",
        shown_default="label",
        elsewhere="column of the label, score or tags here",
        of_labels=True,
    ),
    Option(
        "where",
        str,
        None,
        "rows to take, as language=zh: those with another value in this column are passed over; a table without it is "
        "taken whole",
        elsewhere="rows to take, as language=zh, where the table has this column",
    ),
    Option(
        "no_label",
        kinds.comma_list,
        None,
        "labels that say that a row has none, as - in OCNLI; such rows are left out and counted",
        elsewhere="labels that say that a row has none, as - in OCNLI; such rows are left out and counted",
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
        source: name of the file.
        lines: of each row.
        encoded: the rows.
        labels: of each row; None without labels.
        problems: (line, reason) of the other rows.
        pad_id: of the vocabulary.
        parts: of each row, which one of its line it is, counted from 0.
        kept: other columns that the metrics need, with labels only.
        row_inputs: how many inputs of the model a row is; they follow each other in `encoded`.
        selection: which rows of the table these are, in brackets; empty: all.
        unlabelled: how many rows of the table say that they have no label.
        problem_parts: of each of `problems`, what `parts` is of the usable rows.
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
        """Length of each usable row in the model's input; of several inputs together, all padded to the longest."""
        longest = self.encoded.lengths.reshape(-1, self.row_inputs).max(axis=1)
        return np.asarray(longest * self.row_inputs, np.int32)

    @property
    def places(self) -> list[int | tuple[int, int]]:
        """The line of each row, with the part too where it is not the first row of its line."""
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
        """The unusable rows, and those without a label."""
        return len(self.problems) + self.unlabelled

    def describe(self) -> str:
        """The number of usable rows, and how many were passed over."""
        return f"{len(self):,} rows{self.selection}"

    def for_training(self) -> TextDataset:
        """All of them: each has its label."""
        return self

    def content(self) -> list[NDArray[Any]]:
        """Pieces, segments, labels and kept columns of all rows."""
        arrays: list[NDArray[Any]] = [self.encoded.ids, self.encoded.segments]
        if self.kept:
            arrays.append(np.frombuffer(json.dumps(self.kept).encode(), np.uint8))
        return arrays if self.labels is None else [*arrays, self.labels]


@dataclass(frozen=True)
class TextTask(TaskType):
    """Settings that all tasks on one or two texts have.

    Attributes:
        text_a: column of the (first) text. Of any column `a|b` the first is meant that a table has.
        text_b: column of the second text; None for single texts.
        label: column of the label; prediction does not need it.
        max_length: longest row, [CLS] and [SEP] included.
        metric: the metric that decides which checkpoint is best.
        header: whether tables have a header (otherwise columns are "1", "2", …).
        where: "column=value": which rows of a table are meant, in tables that have this column; None: all.
        no_label: labels that say that a row has none; such rows are neither learnt nor scored.
        nested: format of the training table, if no extension tells it (a key of `reader.tables.nested.NESTED`): that of
            other tables, too, unless theirs is named; None: the extension tells.
        layout: how the model joins two texts.
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
            raise UserError(f"metric {self.metric!r} is not one of {self.type}: {', '.join(self.known_metrics)}")
        if self.max_length < 8:
            raise UserError(f"max_length must be at least 8, found {self.max_length}")

    @classmethod
    def common_options(cls, options: argparse.Namespace) -> dict[str, Any]:
        """The settings of this class from the options of `ernie finetune`.

        Raises:
            UserError: the text column is not named.
        """
        if options.text_a is None:
            raise UserError(f"--text_a is missing: {cls.type} needs the name of the text column")
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
        """The keyword arguments of the constructor from what `to_dict` gave."""
        known = {key: value for key, value in plain.items() if key != "type"}
        return {**known, "no_label": tuple(known.get("no_label", ())), **layout_of(known)}

    @property
    def condition(self) -> Where | None:
        """Which rows are meant."""
        return None if self.where is None else Where.parse(self.where)

    @property
    def known_metrics(self) -> tuple[str, ...]:
        """The metrics that these settings allow to choose."""
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
        """Further columns that the metrics need, and so every labelled row."""
        return ()

    def row_problem(self, row: Row) -> str:
        """Why the texts of a row cannot be used; empty if they can."""
        return text_problem(row, self.text_a, self.text_b)

    @abstractmethod
    def parse_label(self, cell: Any) -> float:
        """The number of a label cell.

        Raises:
            UnusableCellError: it is none.
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
        """The texts of all columns, row by row; rows that cannot be used are passed over."""
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
            DataError: a column is missing, or no row is meant; with `strict` also an unusable row (names file and
                line) or none at all.
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
        """Read a table without labels in chunks, so that a table of any size can be answered.

        Rows that are not meant are among the unusable ones, so that none of the table is missing.
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
        """The rows that can be used with the numbers of their labels (0 without); the others go to `refused`."""
        for row in rows:
            problem, number = row.problem or self.row_problem(row), 0.0
            if not problem and labelled:
                missing = [column for column in self.kept_columns if row.cells.get(column) is None]
                try:
                    number = self.parse_label(row.cells.get(self.label))
                    problem = f"there is no {missing[0]!r}" if missing else ""
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
