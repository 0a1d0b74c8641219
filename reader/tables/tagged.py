"""Sentences with a tag for every token: CoNLL columns, or tables with a cell of tokens and a cell of tags.

Tokens in a cell are separated by the control character U+0002 (as in MSRA-NER) or else by spaces; in JSON lines they
are lists of texts.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from reader.errors import DataError
from reader.files.encodings import not_utf8
from reader.tables.table import FORMATS, OR, STDIN, Row, decoded_lines, open_bytes, open_table, shown_name, table_format

CONLL = "conll"
SEPARATOR = "\x02"
_TOKENS = "tokens"
_NUMBER = re.compile(r"-?[1-9]\d*")
_DOCUMENT = "-DOCSTART-"
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile("[ \t]+")
_TABLES = (".tsv", ".csv", ".jsonl", ".json", ".ndjson")


@dataclass(frozen=True)
class Tagged:
    """A sentence: the line where it begins, its tokens, and its tags (none if tags were not asked for).

    `problem` says why the sentence is unusable ("": it is usable); `line` is then the line of the problem.
    """

    line: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    problem: str = ""


def tagged_format(path: str | Path, format: str, tokens: str | None = None) -> str:
    """The format of a file: tables are known by their extension, everything else is CoNLL columns.

    The format of standard input is known by its first line, which stays unread: an object means JSON lines, and a
    header with the column `tokens` (None: "tokens") means TSV.

    Raises:
        DataError: `format` is neither "auto" nor a format of tagged sentences.
    """
    if format != "auto":
        if format != CONLL and format not in FORMATS:
            raise DataError(f"format {format!r} holds no tagged sentences; give {', '.join((*FORMATS, CONLL))}")
        return format
    if str(path) == STDIN:
        peeked = cast(io.BufferedReader, sys.stdin.buffer).peek(1).removeprefix(b"\xef\xbb\xbf").lstrip()
        if peeked.startswith(b"{"):
            return "jsonl"
        header = peeked.split(b"\n", 1)[0].decode("utf-8", errors="replace").rstrip("\r").split("\t")
        names = {name for name in (tokens or _TOKENS).split(OR) if not _NUMBER.fullmatch(name)}
        return "tsv" if names.intersection(header) else CONLL
    suffixes = [suffix.lower() for suffix in Path(path).suffixes if suffix != ".gz"]
    return table_format(path) if suffixes and suffixes[-1] in _TABLES else CONLL


@contextmanager
def open_tagged(
    path: str | Path, format: str, header: bool, tokens: str | None, tags: str | None, labelled: bool
) -> Iterator[Iterator[Tagged]]:
    """Open a file of tagged sentences.

    Args:
        path: a file, or "-" for standard input.
        format: "conll", a format of `open_table`, or "auto".
        header: whether the first row of a TSV or CSV names the columns.
        tokens: column of the tokens; None: "tokens", in CoNLL columns the first.
        tags: column of the tags; None: "label", in CoNLL columns the last. CoNLL columns are counted from 1, or with a
            minus sign from the end. Of the alternatives `a|b` a table uses the first column that exists, and CoNLL
            columns use the first number.
        labelled: whether to read the tags.

    Raises:
        DataError: the file is unusable, or a column does not exist.
    """
    format = tagged_format(path, format, tokens)
    if format == CONLL:
        numbers = _column_number(tokens or "1"), _column_number(tags or "-1")
        with open_bytes(path) as stream:
            yield _without_empty_tags(_conll_sentences(decoded_lines(stream, shown_name(path)), *numbers, labelled))
        return
    tokens, tags = tokens or _TOKENS, tags or "label"
    with open_table(path, format, header) as table:
        table = table.choose(tokens, tags if labelled else None)
        yield _without_empty_tags(_from_row(row, tokens, tags if labelled else None) for row in table.rows)


def _without_empty_tags(sentences: Iterable[Tagged]) -> Iterator[Tagged]:
    """Makes sentences with an empty tag unusable in every scheme: an empty tag is not a label either."""
    for sentence in sentences:
        if "" not in sentence.tags:
            yield sentence
            continue
        place = sentence.tags.index("")
        yield Tagged(sentence.line, problem=f"token {place + 1} ({sentence.tokens[place]!r}): its tag is empty")


def _column_number(text: str) -> int:
    """The Python index of a column that is counted from 1, or with a minus sign from the end."""
    number = next((int(name) for name in text.split(OR) if _NUMBER.fullmatch(name)), None)
    if number is None:
        raise DataError(f"column {text!r}: the columns of CoNLL files are numbers, 1, 2, … or -1, -2, … from the end")
    return number - 1 if number > 0 else number


def _conll_sentences(lines: Iterator[str], token: int, tag: int, labelled: bool) -> Iterator[Tagged]:
    tokens: list[str] = []
    tags: list[str] = []
    first, columns, problem = 0, 0, (0, "")

    def finished() -> Iterator[Tagged]:
        nonlocal tokens, tags, problem
        if problem[1]:
            yield Tagged(problem[0], problem=problem[1])
        elif tokens:
            yield Tagged(first, tokens, tags)
        tokens, tags, problem = [], [], (0, "")

    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if not text.strip(" \t") or text.startswith(_DOCUMENT):
            yield from finished()
            continue
        fields = text.split("\t") if "\t" in text else _BLANKS.split(text.strip(" "))
        columns = columns or len(fields)
        first = first if tokens or problem[1] else number
        if problem[1]:
            continue
        if len(fields) != columns:
            problem = number, f"{len(fields)} columns where the first line has {columns}"
        elif _SURROGATE.search(text):
            problem = number, not_utf8(text)
        elif not all(-columns <= place < columns for place in ((token, tag) if labelled else (token,))):
            problem = number, f"there are only {columns} columns; choose them with --text_a and --label"
        elif labelled and (token - tag) % columns == 0:
            problem = number, "tokens and tags are the same column; choose them with --text_a and --label"
        else:
            tokens.append(fields[token])
            if labelled:
                tags.append(fields[tag])
    yield from finished()


def _from_row(row: Row, tokens: str, tags: str | None) -> Tagged:
    if row.problem:
        return Tagged(row.line, problem=row.problem)
    found: list[list[str]] = []
    cells = [(name, row.cells.get(name)) for name in (tokens, tags) if name is not None]
    separator = SEPARATOR if any(isinstance(cell, str) and SEPARATOR in cell for _, cell in cells) else " "
    for name, cell in cells:
        parts = _parts(cell, separator)
        if isinstance(parts, str):
            return Tagged(row.line, problem=f"column {name!r}: {parts}")
        found.append(parts)
    if tags is not None and len(found[0]) != len(found[1]):
        return Tagged(row.line, problem=f"{len(found[0])} tokens but {len(found[1])} tags")
    return Tagged(row.line, found[0], found[1] if tags is not None else [])


def _parts(cell: Any, separator: str) -> list[str] | str:
    """The texts of a cell, or the reason why it has none."""
    if cell is None:
        return "missing"
    if isinstance(cell, str):
        parts: list[Any] = cell.split(separator) if separator == SEPARATOR else cell.split(" ")
        if separator != SEPARATOR:
            parts = [part for part in parts if part]
    elif isinstance(cell, list):
        parts = cell
    else:
        return f"a text or a list of texts is expected, found {type(cell).__name__}"
    if not all(isinstance(part, str) for part in parts):
        return "the list must hold texts only"
    if bad := [part for part in parts if _SURROGATE.search(part)]:
        return not_utf8(" ".join(bad))
    return parts or "empty"
