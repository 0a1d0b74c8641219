"""Classes for words in their context, as in WiC and WSC of SuperGLUE (Wang et al., 2019, section 4).

The classifier reads C and, for each span, the mean of the vectors of its pieces: C; mean_1; mean_2. The mean is used
instead of the first piece because a span may be several words ("the city councilmen") and a word several pieces, which
may differ at their ends as well as at their beginnings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ernie_paddle import option_kinds as kinds
from ernie_paddle.checkpoints.heads import FoundHead
from ernie_paddle.finetune.tasks.classification import Classification
from ernie_paddle.finetune.tasks.text_task import TextDataset
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.option_kinds import Option
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.values import Arrays
from reader.batches.rows import Encoded, Runs, join_runs
from reader.lengths import truncate_pair
from reader.tables.cells import UnusableCellError
from reader.tables.marks import CHARACTERS, UNITS, Mark, find_mark
from reader.tables.table import Row
from reader.tokenizers.base import SpanBatch, Tokenizer

SPAN_WEIGHTS = "span_weights"


def parse_spans(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Split each `start:end` into the two columns of a span.

    Raises:
        UserError: A span is not two columns.
    """
    found = []
    for text in texts:
        start, colon, end = (part.strip() for part in text.partition(":"))
        if not (start and colon and end) or ":" in end:
            raise UserError(f"--spans {text}: a span is two columns separated by a colon, such as start1:end1")
        found.append((start, end))
    return tuple(found)


@dataclass(frozen=True)
class SpanDataset(TextDataset):
    """Rows with spans: `spans` int64 [R, S, 2], first and end position (exclusive) of each span in its row.

    `doubtful`: Lines of the rows in which the words of a span are not at its number.
    """

    spans: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 2), np.int64))
    doubtful: tuple[int, ...] = ()

    def describe(self) -> str:
        """The number of rows, and of rows whose spans are not where the table says."""
        if not self.doubtful:
            return super().describe()
        said = f"{len(self.doubtful):,} of them, the first in line {self.doubtful[0]}"
        return f"{super().describe()} (in {said}, the words of a span are not at its number; the nearest ones are used)"

    def content(self) -> list[NDArray[Any]]:
        """The arrays, including the spans."""
        return [*super().content(), self.spans]


@dataclass(frozen=True)
class SpanClassification(Classification):
    """Classes for marked words in their context (WiC, WSC).

    Attributes:
        spans: Two columns of each span, see `find_mark`. With two texts, the first span is in the first text and the
            second in the second; with one text, all spans are in it.
        span_unit: Unit of the columns, one of UNITS.
    """

    type: ClassVar[str] = "span_classification"
    options: ClassVar[tuple[Option, ...]] = (
        *Classification.options,
        Option(
            "spans",
            kinds.comma_list,
            None,
            "two columns of each span, such as start1:end1,start2:end2",
            elsewhere="two columns of each span in this table, such as start1:end1,start2:end2",
        ),
        Option(
            "span_unit",
            str,
            UNITS[0],
            "unit of the columns: first character and end, or number of the first word and the words",
            UNITS,
        ),
    )

    spans: tuple[tuple[str, str], ...] = ()
    span_unit: str = CHARACTERS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.span_unit not in UNITS:
            raise UserError(f"--span_unit {self.span_unit!r} is not one of {', '.join(UNITS)}")
        if not self.spans:
            raise UserError(f"--spans: {self.type} needs two columns for each span, such as start1:end1,start2:end2")
        if self.text_b is not None and len(self.spans) != 2:
            raise UserError(f"--spans: two texts need two spans, one in each; found {len(self.spans)}")

    @classmethod
    def common_options(cls, options: argparse.Namespace) -> dict[str, Any]:
        """The settings of all types, and the spans.

        Raises:
            UserError: A span is not two columns.
        """
        spans = parse_spans(options.spans or ())
        return {**super().common_options(options), "spans": spans, "span_unit": options.span_unit}

    def setting_of(self, name: str, value: Any) -> Any:
        """Convert the value of an option, including the spans."""
        return parse_spans(value) if name == "spans" else super().setting_of(name, value)

    def head(self) -> FoundHead:
        """A head that other projects do not have."""
        return FoundHead(only_ours=f"fine-tuned for {self.type}, and no class of another project has its head")

    @classmethod
    def settings_of(cls, plain: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments, with the spans as tuples."""
        return {**super().settings_of(plain), "spans": tuple((first, second) for first, second in plain["spans"])}

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """The columns of texts and spans."""
        return (*self.text_columns, *(column for span in self.spans for column in span))

    def row_problem(self, row: Row) -> str:
        """The reason why the texts or spans of a row cannot be used; empty if they can."""
        problem = super().row_problem(row)
        if not problem:
            try:
                self._marks(row)
            except UnusableCellError as error:
                problem = str(error)
        return problem

    def inputs(self, labelled: bool) -> Sequence[Input]:
        """The inputs, with `span_weights` [B, S, T]: 1 / number of pieces at each piece of a span, 0 elsewhere."""
        return (*super().inputs(labelled), Input(SPAN_WEIGHTS, (None, len(self.spans), None), "float32"))

    def batch(self, data: TextDataset, rows: NDArray[np.int64], labelled: bool) -> Arrays:
        """Padded inputs of these rows, and with `labelled` their labels."""
        assert isinstance(data, SpanDataset)
        arrays = super().batch(data, rows, labelled)
        first_BS1, end_BS1 = np.split(data.spans[rows], 2, axis=-1)
        places_T = np.arange(arrays["input_ids"].shape[1])
        inside_BST = (places_T >= first_BS1) & (places_T < end_BS1)
        return {**arrays, SPAN_WEIGHTS: (inside_BST / (end_BS1 - first_BS1)).astype(np.float32)}

    def layer(self, config: ErnieConfig) -> Any:
        """Encoder and classifier of spans (parameters `classifier.*`)."""
        from ernie_paddle.finetune.networks.layers import SpanModel

        return SpanModel(config, len(self.spans), len(self.labels))

    def _marks(self, row: Row) -> list[Mark]:
        """The spans of a row as characters of their texts."""
        found = []
        for number, columns in enumerate(self.spans):
            text = row.cells[self.text_columns[self._text_of(number)]]
            try:
                found.append(find_mark(text, row.cells.get(columns[0]), row.cells.get(columns[1]), self.span_unit))
            except UnusableCellError as error:
                raise UnusableCellError(f"span {number + 1} ({':'.join(columns)}): {error}") from None
        return found

    def _text_of(self, span: int) -> int:
        return 0 if self.text_b is None else span

    def _dataset(self, source: str, rows: Iterable[Row], tokenizer: Tokenizer, labelled: bool) -> SpanDataset:
        refused: list[tuple[Row, str]] = []
        used = list(self.usable_rows(rows, labelled, refused))
        pieces = [tokenizer.encode_spans([row.cells[column] for row, _ in used]) for column in self.text_columns]
        encoded, kept_RX = self._joined(tokenizer, pieces)
        good, spans, doubtful = [], [], []
        for number, (row, _) in enumerate(used):
            marks = self._marks(row)
            problem, places = self._positions(number, marks, pieces, kept_RX[number].tolist())
            if problem:
                refused.append((row, problem))
                continue
            good.append(number)
            spans.append(places)
            if not all(mark.agrees for mark in marks):
                doubtful.append(row.line)
        refused.sort(key=lambda found: (found[0].line, found[0].part))
        return SpanDataset(
            source=source,
            lines=[used[number][0].line for number in good],
            encoded=encoded.take(np.array(good, np.int64)),
            labels=np.array([used[number][1] for number in good], self.label_input.dtype) if labelled else None,
            problems=[(row.line, problem) for row, problem in refused],
            pad_id=tokenizer.vocab.pad,
            parts=[used[number][0].part for number in good],
            kept={name: [used[number][0].cells[name] for number in good] for name in self.kept_columns if labelled},
            problem_parts=[row.part for row, _ in refused],
            spans=np.array(spans, np.int64).reshape(-1, len(self.spans), 2),
            doubtful=tuple(doubtful),
        )

    def _joined(self, tokenizer: Tokenizer, pieces: Sequence[SpanBatch]) -> tuple[Encoded, NDArray[np.int64]]:
        """The rows, and the number of pieces of each text in them [R, X]."""
        lengths = [np.diff(batch.offsets).astype(np.int64) for batch in pieces]
        if self.text_b is None:
            lengths = [np.minimum(lengths[0], self.max_length - self.layout.specials(1))]
        else:
            lengths = list(truncate_pair(lengths[0], lengths[1], self.max_length - self.layout.specials(2)))
        runs = [Runs(batch.ids, batch.offsets[:-1], kept) for batch, kept in zip(pieces, lengths, strict=True)]
        return join_runs(tokenizer.vocab, self.layout, *runs), np.stack(lengths, axis=-1)

    def _positions(
        self, row: int, marks: Sequence[Mark], pieces: Sequence[SpanBatch], kept: Sequence[int]
    ) -> tuple[str, list[tuple[int, int]]]:
        """The reason why a span has no pieces in this row (empty if all have), and the positions of the spans."""
        found = []
        for number, mark in enumerate(marks):
            text = self._text_of(number)
            batch = pieces[text]
            own = slice(batch.offsets[row], batch.offsets[row + 1])
            first = int(np.searchsorted(batch.ends[own], mark.begin, side="right"))
            end = int(np.searchsorted(batch.begins[own], mark.end, side="left"))
            if first >= end:
                return f"span {number + 1}: the vocabulary has no piece for it", []
            if first >= kept[text]:
                return f"span {number + 1} is cut off: only {kept[text]} pieces of its text fit; raise --max_length", []
            start = self.layout.text_start(kept, text)
            found.append((start + first, start + min(end, kept[text])))
        return "", found
