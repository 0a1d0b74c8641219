"""Documents: lists of sentences, read from plain text or JSON lines, one block at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from reader.report import SkipReport
from reader.text.blocks import BLOCK_BYTES, Block, Source, find_sources, scan_blocks, text_size
from reader.text.sentences import split_sentences

MAX_LINE_BYTES = 1 << 20
"""Longer lines of plain text are skipped: no sentence and no paragraph is that long."""
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """Consecutive sentences of one text.

    `source` is `file:line` of its beginning, `line` the number of that line, `language` a code or None, and
    `paragraph_starts` the numbers of the sentences that begin a paragraph, except the first sentence; it is empty where
    the text does not mark paragraphs.
    """

    sentences: list[str]
    language: str | None
    source: str
    line: int
    paragraph_starts: Sequence[int] = ()


def read_documents(
    inputs: Sequence[str | Path], format: str = "auto", *, language: str | None = None, report: SkipReport | None = None
) -> Iterator[Document]:
    """All documents of some files, one after the other; memory does not grow with the files.

    Raises:
        DataError: an input is missing or unusable, as in `find_sources` and `scan_blocks`.
    """
    report = SkipReport() if report is None else report
    for source in find_sources(inputs, format, report):
        for block in scan_blocks(source, BLOCK_BYTES, report):
            yield from parse_block(block, report, language)


def sample_sentences(
    sources: Sequence[Source], limit_bytes: int, report: SkipReport | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Sentences of about `limit_bytes` of text, taken evenly from all of it: every n-th block.

    `report` counts unusable input; None if the input is reported elsewhere.

    Yields:
        For each block, sampled or not: the bytes scanned so far, and its sentences (none if it is not sampled).
    """
    total = sum(text_size(source.path) for source in sources)
    stride = max(1, round(total / limit_bytes))
    report = SkipReport() if report is None else report
    scanned = number = 0
    for source in sources:
        for block in scan_blocks(source, BLOCK_BYTES, report):
            scanned += len(block.data)
            documents = parse_block(block, report) if number % stride == 0 else []
            number += 1
            yield scanned, [sentence for document in documents for sentence in document.sentences]


def parse_block(block: Block, report: SkipReport, language: str | None = None) -> list[Document]:
    """The documents of a block.

    Formats: "lines" (one sentence per line, blank line between documents), "paragraphs" (one paragraph per line, cut
    into sentences), "jsonl" (an object per line with `text`, whose line ends are paragraph ends, or `paragraphs`, a
    list of texts or of lists of sentences; `language` or `lang` optional).

    Args:
        block: from `scan_blocks`.
        report: counts unusable input, with file and line.
        language: language of documents that do not name their own.
    """
    lines = _decode(block, report)
    if block.source.format == "jsonl":
        return _parse_jsonl(block, lines, report, language)
    return _parse_text(block, lines, report, language)


def _decode(block: Block, report: SkipReport) -> list[str | None]:
    """The lines of a block; None for lines that are not UTF-8."""
    try:
        lines: list[str | None] = list(block.data.decode("utf-8").split("\n"))
    except UnicodeDecodeError:
        lines = []
        for number, raw in enumerate(block.data.split(b"\n")):
            try:
                lines.append(raw.decode("utf-8"))
            except UnicodeDecodeError:
                report.add(
                    "line with undecodable bytes (not UTF-8)", f"{block.source.path}:{block.first_line + number}"
                )
                lines.append(None)
    return lines


def _parse_text(block: Block, lines: list[str | None], report: SkipReport, language: str | None) -> list[Document]:
    path = block.source.path
    one_per_line = block.source.format == "lines"
    documents: list[Document] = []
    sentences: list[str] = []
    starts: list[int] = []
    begin: int | None = None

    def finish() -> None:
        nonlocal sentences, starts, begin
        if sentences:
            documents.append(Document(sentences, language, f"{path}:{begin}", begin or 0, starts))
        elif begin is not None:
            report.add("document without sentences", f"{path}:{begin}")
        sentences, starts, begin = [], [], None

    for number, line in enumerate(lines, start=block.first_line):
        line = None if line is None else line.strip()
        if line == "":
            finish()
            continue
        begin = number if begin is None else begin
        if line is None:
            continue
        if len(line) * 4 > MAX_LINE_BYTES and len(line.encode("utf-8")) > MAX_LINE_BYTES:
            report.add(f"line longer than {MAX_LINE_BYTES} bytes", f"{path}:{number}")
        elif one_per_line:
            sentences.append(line)
        else:
            if sentences:
                starts.append(len(sentences))
            sentences += split_sentences(line)
    finish()
    return documents


def _parse_jsonl(block: Block, lines: list[str | None], report: SkipReport, language: str | None) -> list[Document]:
    documents = []
    for number, line in enumerate(lines, start=block.first_line):
        if line is None or not line.strip():
            continue
        where = f"{block.source.path}:{number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            report.add("line that is not valid JSON", where)
            continue
        paragraphs = _json_paragraphs(entry)
        if isinstance(paragraphs, str):
            report.add(paragraphs, where)
            continue
        sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
        starts = list(accumulate(len(paragraph) for paragraph in paragraphs))[:-1]
        if "\\ud" in line or "\\uD" in line:
            # Halves of surrogate pairs are not characters, and cannot be encoded later.
            sentences = [_SURROGATE.sub("\ufffd", sentence) for sentence in sentences]
        if not sentences:
            report.add("document without sentences", where)
            continue
        own = entry.get("language", entry.get("lang"))
        if own is not None and not _is_name(own):
            report.add("`language` that is not a name, left out (the document is kept)", where)
            own = None
        documents.append(Document(sentences, own or language, where, number, starts))
    return documents


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _SURROGATE.search(value) is None


def _json_paragraphs(entry: Any) -> list[list[str]] | str:
    """The sentences of each paragraph of one entry (no paragraph is empty), or the reason why there are none."""
    if not isinstance(entry, dict):
        return "JSON line that is not an object"
    paragraphs = entry.get("paragraphs")
    if paragraphs is None:
        text = entry.get("text")
        if text is None:
            return "JSON line without `text` or `paragraphs`"
        if not isinstance(text, str):
            return "JSON line whose `text` is not a string"
        paragraphs = text.split("\n")
    if not isinstance(paragraphs, list):
        return "JSON line whose `paragraphs` is not a list"
    found: list[list[str]] = []
    for paragraph in paragraphs:
        if isinstance(paragraph, str):
            found.append(split_sentences(paragraph))
        elif isinstance(paragraph, list) and all(isinstance(sentence, str) for sentence in paragraph):
            found.append([stripped for stripped in (sentence.strip() for sentence in paragraph) if stripped])
        else:
            return "JSON line with a paragraph that is neither a text nor a list of sentences"
    return [sentences for sentences in found if sentences]
