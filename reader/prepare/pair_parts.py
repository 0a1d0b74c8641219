"""Rows of tables as tokenised pairs of texts, which are kept in parts until the split of each row is known.

A part with R rows and N tokens holds the arrays `sizes` int64 [2R] (tokens of texts a and b in turn), `draws` [R] (64
bits; rows of a group have the same draw), `labels` int32 [R], `tokens` and `flags` [N].
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError
from reader.files.tensorfile import map_arrays, write_arrays
from reader.prepare.document_parts import part_path
from reader.random import key
from reader.report import SkipReport
from reader.tables.cells import UnusableCellError, label_name, text_problem
from reader.tables.table import Row, open_table
from reader.text.blocks import Source
from reader.tokenizers.base import Tokenizer

PART_TOKENS = 1 << 22
_ROWS_AT_ONCE = 1 << 12
_MOST_LABELS = 10_000
_PLACE_IN_JSON = re.compile(r" \([^()]*column \d+\)$")


@dataclass(frozen=True)
class PairColumns:
    """The names of the columns that are read, and of the labels.

    Attributes:
        text_a: column of the first text.
        text_b: column of the second text.
        label: column of the label.
        group: column of the group; rows of one group are held out together. None: rows with the same first text are a
            group.
        labels: label in the table → name in the corpus. The corpus has these labels, in this order, and rows with other
            labels are skipped. None: the corpus has all labels of the tables, under their own names, sorted.
    """

    text_a: str
    text_b: str
    label: str
    group: str | None = None
    labels: Mapping[str, str] | None = None


@dataclass
class _Rows:
    """Some usable rows: texts a and b in turn, the number of each row's label, its draw, and where it was found."""

    texts: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    draws: list[int] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


def make_parts(
    folder: Path,
    sources: Sequence[Source],
    columns: PairColumns,
    tokenizer: Tokenizer,
    seed: int,
    report: SkipReport,
    progress: Callable[[int], None],
) -> tuple[int, list[str]]:
    """Writes all usable rows into parts.

    Args:
        folder: folder of the parts.
        sources: the tables.
        columns: names of columns and labels.
        tokenizer: tokenizer of the texts.
        seed: seed of the draws.
        report: counts unusable rows, with file and line.
        progress: called with the number of pairs from time to time.

    Returns:
        The number of parts, and the labels in the order of their numbers in the parts: those that `columns` names, or
        all labels in the order in which they were found.

    Raises:
        DataError: a table or a column is missing or unusable, or there are too many labels.
    """
    named = columns.labels.values() if columns.labels is not None else ()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(named))}
    count = pairs = 0
    arrays: list[dict[str, NDArray[Any]]] = []
    for source in sources:
        with closing(_read(source, columns, seed, numbers, report)) as batches:
            for rows in batches:
                found = _encode(tokenizer, rows, report)
                if len(found["labels"]) == 0:
                    continue
                arrays.append(found)
                pairs += len(found["labels"])
                progress(pairs)
                if sum(len(piece["tokens"]) for piece in arrays) >= PART_TOKENS:
                    _write_part(folder, count, arrays)
                    count, arrays = count + 1, []
    if arrays:
        _write_part(folder, count, arrays)
        count += 1
    return count, list(numbers)


def _read(
    source: Source, columns: PairColumns, seed: int, numbers: dict[str, int], report: SkipReport
) -> Generator[_Rows, None, None]:
    """The usable rows of a table, some at a time; unusable rows are counted with file and line."""
    with open_table(source.path, source.format) as table:
        table.require(columns.text_a, columns.text_b, columns.label, columns.group)
        while chunk := list(islice(table.rows, _ROWS_AT_ONCE)):
            rows = _Rows()
            for row in chunk:
                place = f"{source.path}:{row.line}"
                problem = row.problem or text_problem(row, columns.text_a, columns.text_b)
                label = group = ""
                if not problem:
                    label, group, problem = _label_and_group(row, columns)
                if problem:
                    report.add("row left out: " + _PLACE_IN_JSON.sub("", problem), place)
                    continue
                rows.texts += [row.cells[columns.text_a], row.cells[columns.text_b]]
                rows.labels.append(numbers.setdefault(label, len(numbers)))
                rows.draws.append(int(key(seed, "held out", group)))
                rows.places.append(place)
            if len(numbers) > _MOST_LABELS:
                raise DataError(f"{source.path}: column {columns.label!r} holds more than {_MOST_LABELS:,} labels")
            yield rows


def _label_and_group(row: Row, columns: PairColumns) -> tuple[str, str, str]:
    """(label, group, reason) of a row; the reason why label or group are unusable is "" if they are usable."""
    try:
        label = label_name(row.cells.get(columns.label))
    except UnusableCellError as error:
        return "", "", f"column {columns.label!r}: {error}"
    if columns.labels is not None:
        if label not in columns.labels:
            return "", "", "a label that is none of those named"
        label = columns.labels[label]
    group = row.cells.get(columns.text_a if columns.group is None else columns.group)
    if group is None:
        return "", "", f"column {columns.group!r} is missing"
    return label, str(group), ""


def _encode(tokenizer: Tokenizer, rows: _Rows, report: SkipReport) -> dict[str, NDArray[Any]]:
    """Arrays of the rows whose texts both have tokens; other rows are counted as skipped."""
    batch = tokenizer.encode_batch(rows.texts)
    sizes = np.diff(batch.offsets).reshape(-1, 2)
    good = (sizes > 0).all(axis=1)
    for number in np.flatnonzero(~good).tolist():
        report.add("row left out: text without tokens", rows.places[number])
    kept = np.repeat(good, sizes.sum(axis=1))
    return {
        "sizes": sizes[good].reshape(-1),
        "draws": np.array(rows.draws, np.uint64)[good].view(np.int64),
        "labels": np.array(rows.labels, np.int32)[good],
        "tokens": batch.ids[kept],
        "flags": batch.flags[kept],
    }


def _write_part(folder: Path, number: int, arrays: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    joined = {name: np.concatenate([piece[name] for piece in arrays]) for name in arrays[0]}
    write_arrays(part_path(folder, number), joined, {})


def read_part(folder: Path, number: int) -> dict[str, NDArray[Any]]:
    """The arrays of a part, memory-mapped; the draws are uint64."""
    arrays = map_arrays(part_path(folder, number))[0]
    return {**arrays, "draws": arrays["draws"].view(np.uint64)}
