"""Cutting input files into blocks of whole documents by scanning raw bytes, without parsing them.

A block is the unit of work of a worker process. The cuts depend on the files and the block size only, not on the number
of workers. Memory holds about one block, or the longest document, up to `MAX_DOCUMENT_BYTES`.
"""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from reader.errors import DataError
from reader.files.encodings import refuse_utf16
from reader.report import SkipReport
from reader.text.sentences import split_sentences

FORMATS = ("lines", "paragraphs", "jsonl")
BLOCK_BYTES = 1 << 21
MAX_DOCUMENT_BYTES = 1 << 24
_HEAD = 1 << 16
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Source:
    """One input file."""

    path: Path
    number: int
    format: str


@dataclass(frozen=True)
class Block:
    """Some whole documents of one file: `data`, whose first line has the number `first_line` (from 1) in the file."""

    source: Source
    first_line: int
    data: bytes


def find_sources(inputs: Sequence[str | Path], format: str, report: SkipReport) -> list[Source]:
    """The files that paths and glob patterns name, sorted within each pattern.

    Args:
        inputs: files or patterns (`data/*.jsonl.gz`, `**` for subfolders).
        format: one of `FORMATS`, or "auto": by extension, else by the shape of the first lines.
        report: counts empty files, and files named more than once.

    Raises:
        DataError: a file is missing or unreadable, a pattern matches nothing, or the format is not known.
    """
    if format not in (*FORMATS, "auto"):
        raise DataError(f"format {format!r} is not known; use one of auto, {', '.join(FORMATS)}")
    files = find_files(inputs, report)
    return [
        Source(path, number, format if format != "auto" else _detect(path, head))
        for number, (path, head) in enumerate(files.items())
    ]


def find_files(inputs: Sequence[str | Path], report: SkipReport) -> dict[Path, bytes]:
    """The files that paths and glob patterns name, sorted within each pattern, with the first bytes of their text.

    Args:
        inputs: as for `find_sources`.
        report: as for `find_sources`.

    Raises:
        DataError: a file is missing or unreadable, a pattern matches nothing, or all files are empty.
    """
    paths: list[Path] = []
    for entry in inputs:
        paths += _expand(str(entry))
    if not paths:
        raise DataError("no input files were named")
    files: dict[Path, bytes] = {}
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            report.add("file named more than once, read once", str(path))
            continue
        seen.add(path.resolve())
        head = _head(path)
        if head.strip():
            files[path] = head
        else:
            report.add("empty file", str(path))
    if not files:
        raise DataError(f"all {len(seen)} input files are empty (first: {paths[0]})")
    return files


def scan_blocks(source: Source, block_bytes: int, report: SkipReport) -> Iterator[Block]:
    """Cuts one file into blocks of about `block_bytes`.

    A plain-text document of more than `MAX_DOCUMENT_BYTES` is cut at a line end; a longer line is skipped. `report`
    counts both.

    Raises:
        DataError: the file cannot be read, or its gzip data are damaged.
    """
    buffer = b""
    line = 1
    with open_bytes(source.path) as stream:
        while True:
            piece = _read(stream, source.path, block_bytes)
            if line == 1 and not buffer:
                piece = piece.removeprefix(_BOM)
            if not piece:
                break
            buffer += piece
            cut = _last_boundary(buffer, source.format)
            if cut <= 0 and len(buffer) > MAX_DOCUMENT_BYTES:
                cut = buffer.rfind(b"\n") + 1
                if cut:
                    report.add(f"document longer than {MAX_DOCUMENT_BYTES} bytes was cut", f"{source.path}:{line}")
                else:
                    report.add(f"line longer than {MAX_DOCUMENT_BYTES} bytes", f"{source.path}:{line}")
                    buffer = _skip_line(stream, source.path, block_bytes)
                    line += 1
            if cut > 0 and len(buffer) >= block_bytes:
                yield Block(source, line, buffer[:cut])
                line += buffer.count(b"\n", 0, cut)
                buffer = buffer[cut:]
    if buffer.strip():
        yield Block(source, line, buffer)


def text_size(path: Path) -> int:
    """Bytes of text in a file; for gzip an estimate from the end of the file (modulo 4 GiB, of the last member)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b" and size > 18:
            file.seek(-4, os.SEEK_END)
            return max(size, int.from_bytes(file.read(4), "little"))
    return size


def open_bytes(path: Path) -> IO[bytes]:
    """Opens a file for reading, through gzip if its first bytes say so.

    Raises:
        DataError: the file cannot be opened.
    """
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        return cast("IO[bytes]", gzip.open(path, "rb")) if zipped else path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}") from error


def _expand(entry: str) -> list[Path]:
    path = Path(entry)
    if path.is_dir():
        raise DataError(f"{path} is a folder; name its files, for example '{path}/*.txt'")
    if path.exists():
        return [path]
    if not glob.has_magic(entry):
        raise DataError(f"{path}: no such file")
    found = [Path(name) for name in sorted(glob.glob(entry, recursive=True))]
    found = [name for name in found if name.is_file()]
    if not found:
        raise DataError(f"no file matches {entry!r}")
    return found


def _head(path: Path) -> bytes:
    with open_bytes(path) as stream:
        head = _read(stream, path, _HEAD)
    refuse_utf16(head, str(path))
    return head.removeprefix(_BOM)


def _read(stream: IO[bytes], path: Path, size: int) -> bytes:
    try:
        return stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read to its end, the file is damaged: {error}") from error


def _detect(path: Path, head: bytes) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in (".jsonl", ".ndjson", ".json"):
        return "jsonl"
    text = head.decode("utf-8", errors="replace")
    lines = [line for line in (raw.strip() for raw in text.split("\n")) if line]
    if lines and lines[0].startswith("{") and ('"text"' in lines[0] or '"paragraphs"' in lines[0]):
        return "jsonl"
    # The last line of the head may be cut short.
    whole = lines[:-1] or lines
    several = sum(1 for line in whole if len(split_sentences(line)) > 1)
    return "paragraphs" if several * 4 > len(whole) else "lines"


def _last_boundary(buffer: bytes, format: str) -> int:
    """The end of the last document that is certainly complete; 0 if there is none."""
    if format == "jsonl":
        return buffer.rfind(b"\n") + 1
    return max(_after(buffer, b"\n\n"), _after(buffer, b"\n\r\n"))


def _after(buffer: bytes, mark: bytes) -> int:
    place = buffer.rfind(mark)
    return place + len(mark) if place >= 0 else 0


def _skip_line(stream: IO[bytes], path: Path, block_bytes: int) -> bytes:
    while piece := _read(stream, path, block_bytes):
        _, newline, rest = piece.partition(b"\n")
        if newline:
            return rest
    return b""
