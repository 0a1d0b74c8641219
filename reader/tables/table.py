"""Tables on disk (TSV, CSV, JSON lines, each also as .gz, or standard input) as rows with line numbers.

An unusable row is still a row and carries the reason, so that `finetune` can refuse the file at that line, and
`predict` can report the reason at the row's place among the answers.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import itertools
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from reader.errors import DataError
from reader.files.encodings import not_utf8, refuse_utf16
from reader.tables.nested import NESTED, NestedRecordError

FORMATS = ("auto", "tsv", "csv", "jsonl")
READABLE = (*FORMATS, *NESTED)
"""Formats of `open_table`; a file in one of NESTED may hold several rows in a line."""
STDIN = "-"
OR = "|"
"""Separator of alternative names of one column, which several tables call differently."""
_BY_SUFFIX = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".rels": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_FIELD = 16 * 2**20
_DEEPEST_NAME = 8
_LONGEST_NAME, _MOST_NAMES, _MOST_SHOWN = 30, 20, 80


@dataclass(frozen=True)
class Row:
    """One row. `cells` maps column names to values (texts; in JSON lines any value).

    `problem` says why the row is unusable ("": it is usable). `part` counts the rows of one line from 0, in formats
    with several rows in a line.
    """

    line: int
    cells: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    part: int = 0


@dataclass(frozen=True)
class Table:
    """An open table: its name for messages, its format, its columns (None for JSON lines) and its rows, read once.

    `header`: whether the first row named the columns.
    """

    name: str
    format: str
    columns: list[str] | None
    rows: Iterator[Row]
    header: bool = False

    def require(self, *wanted: str | None) -> None:
        """Check that the named columns exist (None is ignored); in JSON lines each row is checked when it is used.

        Of the alternatives `a|b` one must exist.

        Raises:
            DataError: a column is missing; the message suggests the closest name and lists the columns.
        """
        for name in wanted:
            if name is None or self.columns is None or any(column in self.columns for column in column_names(name)):
                continue
            alternatives = name.split(OR)
            near = [found for one in alternatives for found in difflib.get_close_matches(one, self.columns, 1)]
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(
                f"{self.name}:1: there is no column {' or '.join(map(repr, alternatives))}; "
                f"{hint}columns: {_shown(self.columns)}"
                + ("; the first row must name the columns" if self.header else "")
                + _old_ends(self.columns)
                + ("; if this is CSV, give --format csv" if _may_be_csv(self) else "")
            )

    def choose(self, *wanted: str | None) -> Table:
        """This table, in which the name `a|b` also refers to the cells of the first of these columns that exists.

        A column whose whole name is `a|b` comes before columns with one of its parts as name.

        Raises:
            DataError: a column is missing, as in `require`.
        """
        self.require(*wanted)
        several = [name for name in wanted if name is not None and OR in name]
        return replace(self, rows=_with_chosen(self.rows, several)) if several else self


def column_names(name: str) -> list[str]:
    """The columns that a name may refer to; it refers to the first one that exists."""
    return [name, *name.split(OR)] if OR in name else [name]


def _with_chosen(rows: Iterator[Row], several: Sequence[str]) -> Iterator[Row]:
    for row in rows:
        for name in several:
            found = next((column for column in column_names(name) if column in row.cells), None)
            if found is not None:
                row.cells[name] = row.cells[found]
        yield row


def _shown(columns: Sequence[str]) -> str:
    """The names of columns for a message, shortened: without a header they may be sentences, or the whole file."""
    said = ", ".join(columns[:_MOST_NAMES])
    if any(len(name) > _LONGEST_NAME for name in columns) and len(said) > _MOST_SHOWN:
        return f"{said[:_MOST_SHOWN]}…"
    return said + (f", … ({len(columns)} in all)" if len(columns) > _MOST_NAMES else "")


def _old_ends(columns: Sequence[str]) -> str:
    """Advice for a file whose lines end in carriage returns alone, as on old Macs, so that it is read as one line."""
    ended = any("\r" in name for name in columns)
    return "; its lines end in carriage returns alone, make them line feeds" if ended else ""


def _may_be_csv(table: Table) -> bool:
    """Whether a table that was read as TSV may be CSV: it has one column, whose name holds commas or is a number."""
    return (
        table.format == "tsv"
        and table.columns is not None
        and len(table.columns) == 1
        and ("," in table.columns[0] or not table.header)
    )


def refusal(name: str, problems: Sequence[tuple[int, str]]) -> DataError:
    """The error for a table with unusable rows; `problems` are (line, reason) in the order of the lines."""
    line, reason = problems[0]
    others = len(problems) - 1
    more = f" (and {others:,} more row{'s' if others > 1 else ''} that cannot be used)" if others else ""
    return DataError(f"{name}:{line}: {reason}{more}; fix the table, or skip such rows with --skip_unusable")


def none_usable(name: str, problems: Sequence[tuple[int, str]], counted: str = "line") -> DataError:
    """The error for a file without a usable row; `problems` as in `refusal`, `counted`: the unit of their numbers."""
    if not problems:
        return no_rows(name)
    number, reason = problems[0]
    return DataError(f"{name}: nothing in it is usable; the first problem is in {counted} {number}: {reason}")


def no_rows(name: str) -> DataError:
    """The error for a table without rows."""
    return DataError(f"{name}: no rows; a table needs at least one row under its header")


@contextmanager
def open_table(path: str | Path, format: str = "auto", header: bool = True) -> Iterator[Table]:
    """Open a table.

    Args:
        path: a file, or "-" for standard input.
        format: one of READABLE; "auto" goes by the extension (before .gz), on standard input by the first character.
        header: whether the first row of a TSV or CSV names the columns; otherwise they are named "1", "2", ….

    TSV fields are taken as they are (quotes have no meaning, as in GLUE); CSV follows RFC 4180. A value inside an
    object of JSON lines has a dotted name, such as `target.span1_text`.

    Raises:
        DataError: the format or the extension is not known, the file is UTF-16 or empty, or the .gz or the quotes of a
            CSV are damaged.
        FileNotFoundError: there is no such file.
    """
    name = shown_name(path)
    if format not in READABLE:
        raise DataError(f"{name}: format {format!r} is not a table format; give one of {', '.join(READABLE)}")
    with open_bytes(path) as stream:
        lines = decoded_lines(stream, name)
        if format == "auto":
            format, lines = _detect(path, lines)
        if format == "jsonl" or format in NESTED:
            first = next(lines, None)
            if first is None:
                raise DataError(f"{name}: the file is empty")
            objects = _json_objects(itertools.chain([first], lines))
            if format in NESTED:
                yield Table(name, format, list(NESTED[format].columns), _nested_rows(objects, format))
            else:
                yield Table(name, format, None, _checked(_with_dotted_names(objects)))
            return
        records = _csv_records(lines, name) if format == "csv" else _tsv_records(lines)
        first_record = next(records, None)
        if first_record is None:
            raise DataError(f"{name}: the file is empty")
        columns = first_record[1] if header else [str(i + 1) for i in range(len(first_record[1]))]
        if any(_SURROGATE.search(column) for column in columns):
            raise DataError(f"{name}:1: the header is {not_utf8(' '.join(columns))}")
        if len(set(columns)) < len(columns):
            twice = next(column for column in columns if columns.count(column) > 1)
            raise DataError(f"{name}:1: the header names the column {_shown([twice])!r} twice{_old_ends(columns)}")
        if not header:
            records = itertools.chain([first_record], records)
        yield Table(name, format, columns, _checked(_as_rows(records, columns, header)), header)


def shown_name(path: str | Path) -> str:
    """The name of a file in messages."""
    return "standard input" if str(path) == STDIN else str(path)


@contextmanager
def open_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """The bytes of a file (unpacked, if it is a .gz), or of standard input.

    Raises:
        DataError: the .gz is damaged.
        FileNotFoundError: there is no such file.
    """
    if str(path) == STDIN:
        yield sys.stdin.buffer
        return
    with open(path, "rb") as raw:
        magic = raw.read(2)
        raw.seek(0)
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if magic == b"\x1f\x8b" else raw
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip file ({error})") from None


def decoded_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Lines with their line end; bytes that are not UTF-8 become lone surrogates, which the caller reports.

    Raises:
        DataError: the stream is UTF-16, or a line has many megabytes.
    """
    for number, raw in enumerate(stream):
        if number == 0:
            refuse_utf16(raw, name)
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) > _LONGEST_FIELD:
            raise DataError(f"{name}:{number + 1}: a line of {len(raw):,} bytes; is this a table?")
        yield raw.decode("utf-8", errors="surrogateescape")


def _detect(path: str | Path, lines: Iterator[str]) -> tuple[str, Iterator[str]]:
    if str(path) == STDIN:
        first = next(lines, "")
        rest = itertools.chain([first], lines) if first else lines
        return ("jsonl" if first.lstrip().startswith("{") else "tsv"), rest
    return table_format(path), lines


def table_format(path: str | Path) -> str:
    """The format of a file by its extension.

    Raises:
        DataError: the extension is not that of a table.
    """
    suffixes = [suffix for suffix in Path(path).suffixes if suffix != ".gz"]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix not in _BY_SUFFIX:
        raise DataError(f"{path}: cannot tell the format by the file name; use .tsv, .csv or .jsonl, or give --format")
    return _BY_SUFFIX[suffix]


def _tsv_records(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        yield number, text.split("\t") if text else []


def _csv_records(lines: Iterator[str], name: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_FIELD)
    records = csv.reader(lines, strict=True)
    while True:
        line = records.line_num + 1
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{name}:{line}: not valid CSV ({error}); check the quotes") from None
        yield line, record


def _as_rows(records: Iterator[tuple[int, list[str]]], columns: Sequence[str], header: bool) -> Iterator[Row]:
    expected = "the header has" if header else "the first row has"
    for line, record in _without_final_blanks(records):
        if not record and len(columns) > 1:
            yield Row(line, problem="empty line")
        elif len(record) != len(columns) and record:
            yield Row(line, problem=f"{len(record)} columns where {expected} {len(columns)}")
        else:
            yield Row(line, dict(zip(columns, record or [""], strict=True)))


def _without_final_blanks(records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """The records without blank lines at the end of the file; blank lines inside the table are unusable rows."""
    held: list[tuple[int, list[str]]] = []
    for record in records:
        if record[1]:
            yield from held
            held.clear()
            yield record
        else:
            held.append(record)


def _json_objects(lines: Iterator[str]) -> Iterator[Row]:
    held: list[Row] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            held.append(Row(number, problem="empty line"))
            continue
        yield from held
        held.clear()
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = getattr(error, "msg", "too deeply nested")
            yield Row(number, problem=f"not valid JSON ({reason}, column {getattr(error, 'colno', 1)})")
            continue
        if isinstance(value, dict):
            yield Row(number, value)
        else:
            yield Row(number, problem=f"a JSON object is expected, found {type(value).__name__}")


def _with_dotted_names(objects: Iterator[Row]) -> Iterator[Row]:
    """Add the values inside objects under dotted names; a key that is spelt like a dotted name keeps its own value."""
    for row in objects:
        level = {name: value for name, value in row.cells.items() if isinstance(value, dict)}
        for _ in range(_DEEPEST_NAME):
            inner = {f"{name}.{key}": value for name, found in level.items() for key, value in found.items()}
            for name, value in inner.items():
                row.cells.setdefault(name, value)
            level = {name: value for name, value in inner.items() if isinstance(value, dict)}
        yield row


def _nested_rows(objects: Iterator[Row], format: str) -> Iterator[Row]:
    """The rows of each line, or one row that says why the whole line is unusable."""
    for row in objects:
        if row.problem:
            yield row
            continue
        try:
            found = list(NESTED[format].rows(row.cells))
            problem = "" if found else "no question in it"
        except NestedRecordError as error:
            found, problem = [], f"not in the layout of {format}: {error}"
        rows = list(_checked(Row(row.line, cells, part=part) for part, cells in enumerate(found)))
        problem = next((checked.problem for checked in rows if checked.problem), problem)
        yield from [Row(row.line, problem=problem)] if problem else rows


def _checked(rows: Iterable[Row]) -> Iterator[Row]:
    """Turn rows with text that is not Unicode into unusable rows: such a text cannot be encoded later."""
    for row in rows:
        bad = next(
            (name for name, cell in row.cells.items() if isinstance(cell, str) and _SURROGATE.search(cell)), None
        )
        if bad is None:
            yield row
        else:
            yield Row(row.line, problem=f"column {bad!r} is {not_utf8(row.cells[bad])}")
