"""Documents from files: formats, blocks, and every kind of bad input, counted with file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader.errors import DataError
from reader.report import SkipReport
from reader.text import blocks, documents
from reader.text.blocks import find_sources, scan_blocks
from reader.text.documents import parse_block, read_documents


def read(path: Path | str, format: str = "auto") -> tuple[list[list[str]], dict[str, Any]]:
    report = SkipReport()
    found = [document.sentences for document in read_documents([path], format, report=report)]
    return found, {reason: report.places[reason] for reason in report.counts}


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode("utf-8") if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


LINES = "One dog.\nTwo dogs\n\n\n  \t\nA cat; a mouse.\r\n\r\nLast"
EXPECTED = [["One dog.", "Two dogs"], ["A cat; a mouse."], ["Last"]]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.gz", "a"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"])
def test_lines(tmp_path: Path, name: str, start: str) -> None:
    assert read(write(tmp_path / name, start + LINES)) == (EXPECTED, {})


def test_paragraphs_are_recognised_and_split(tmp_path: Path) -> None:
    text = "It rains. We stay.\nThey go. All go.\n\nOne more. And more.\n"
    expected = [["It rains.", "We stay.", "They go.", "All go."], ["One more.", "And more."]]
    path = write(tmp_path / "p.txt", text)
    assert read(path)[0] == read(path, "paragraphs")[0] == expected
    assert read(path, "lines")[0][0] == ["It rains. We stay.", "They go. All go."]


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"text": "It rains. We stay.\n\nThey go.", "lang": "en"},
        {"paragraphs": [["It rains.", " We stay. Now. "], ["They go."]], "language": "de"},
        {"paragraphs": ["It rains. We stay.", "They go."], "language": 5},
    ]
    path = write(tmp_path / "a.jsonl.gz", "\n".join(map(json.dumps, rows)) + "\n\n")
    found = list(read_documents([path], language="xx"))
    assert [d.sentences for d in found] == [
        ["It rains.", "We stay.", "They go."],
        ["It rains.", "We stay. Now.", "They go."],
        ["It rains.", "We stay.", "They go."],
    ]
    assert [d.language for d in found] == ["en", "de", "xx"]
    assert [d.source for d in found] == [f"{path}:{line}" for line in (1, 2, 3)]
    assert read(write(tmp_path / "data.txt", json.dumps(rows[0])))[0] == [["It rains.", "We stay.", "They go."]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line that is not valid JSON"),
        ("[" * 100_000, "line that is not valid JSON"),
        ("3", "JSON line that is not an object"),
        ('{"body": "x"}', "JSON line without `text` or `paragraphs`"),
        ('{"text": 5}', "JSON line whose `text` is not a string"),
        ('{"paragraphs": {}}', "JSON line whose `paragraphs` is not a list"),
        ('{"paragraphs": [["a", 5]]}', "JSON line with a paragraph that is neither a text nor a list of sentences"),
        ('{"text": " \\n "}', "document without sentences"),
        ('{"paragraphs": [[""]]}', "document without sentences"),
        (b'{"text": "\xff"}', "line with undecodable bytes (not UTF-8)"),
    ],
)
def test_bad_json_lines_are_counted_with_their_place(tmp_path: Path, line: str | bytes, reason: str) -> None:
    raw = line.encode() if isinstance(line, str) else line
    path = write(tmp_path / "a.jsonl", b'{"text": "Good."}\n' + raw + b'\n{"text": "Fine."}\n')
    assert read(path) == ([["Good."], ["Fine."]], {reason: [f"{path}:2"]})


def test_half_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "bad \\ud83d good \\ud83d\\ude00"}\n')
    assert read(path)[0] == [["bad \ufffd good 😀"]]


def test_bad_text_lines_are_counted_with_their_place(tmp_path: Path) -> None:
    long = b"x" * 10_000_000
    path = write(tmp_path / "a.txt", b"Good.\nbad \xff\xfe\n" + long + b"\nFine.\n\n\xff\n\nEnd.\n")
    assert read(path, "lines") == (
        [["Good.", "Fine."], ["End."]],
        {
            "line with undecodable bytes (not UTF-8)": [f"{path}:2", f"{path}:6"],
            f"line longer than {documents.MAX_LINE_BYTES} bytes": [f"{path}:3"],
            "document without sentences": [f"{path}:6"],
        },
    )


@pytest.mark.parametrize("format", ["lines", "jsonl"])
def test_a_line_without_end_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr(blocks, "MAX_DOCUMENT_BYTES", 1000)
    monkeypatch.setattr(documents, "BLOCK_BYTES", 100)
    good = '{"text": "Good."}' if format == "jsonl" else "Good.\n"
    path = write(tmp_path / "a", good + "\n" + "x" * 5000 + "\n" + good + "\n")
    found, skipped = read(path, format)
    assert found == [["Good."], ["Good."]]
    line = 2 if format == "jsonl" else 3
    assert skipped == {"line longer than 1000 bytes": [f"{path}:{line}"]}
    long = write(tmp_path / "b", "Good.\n" * 500)
    found, skipped = read(long, "lines")
    assert sum(map(len, found)) == 500
    assert "document longer than 1000 bytes was cut" in skipped


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    empty, good = write(tmp_path / "empty.txt", "\n"), write(tmp_path / "good.txt", "Yes")
    report = SkipReport()
    found = list(read_documents([str(tmp_path / "*.txt"), good], report=report))
    assert [d.sentences for d in found] == [["Yes"]]
    assert report.places == {"empty file": [str(empty)], "file named more than once, read once": [str(good)]}
    for bad, message in [
        (tmp_path / "no.txt", "no such file"),
        (tmp_path / "*.csv", "no file matches"),
        (tmp_path, "is a folder"),
        (empty, "are empty"),
        (write(tmp_path / "u16", "hello".encode("utf-16")), "UTF-16"),
    ]:
        with pytest.raises(DataError, match=message):
            list(read_documents([bad]))
    with pytest.raises(DataError, match="no input files"):
        list(read_documents([]))
    with pytest.raises(DataError, match="format 'csv'"):
        list(read_documents([good], "csv"))
    whole = gzip.compress(b"Some words.\n" * 1000)
    broken = tmp_path / "broken.gz"
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"broken\.gz.*damaged"):
        list(read_documents([broken], "lines"))


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(st.lists(st.text(alphabet="ab é", min_size=1, max_size=12), max_size=4), max_size=12),
    blank=st.sampled_from(["\n", "\r\n", "\n\n\n"]),
    block_bytes=st.integers(1, 60),
)
def test_blocks_do_not_change_the_documents(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]], blank: str, block_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.txt"
    write(path, "x\n" + blank + "".join("".join(line + "\n" for line in text) + blank for text in texts))
    (source,) = find_sources([path], "lines", SkipReport())
    whole = parse_block(next(scan_blocks(source, 1 << 20, SkipReport())), SkipReport())
    report = SkipReport()
    cut = [document for block in scan_blocks(source, block_bytes, report) for document in parse_block(block, report)]
    assert cut == whole
    assert [d.sentences for d in whole][1:] == [
        stripped for text in texts for stripped in _documents([line.strip() for line in text])
    ]


def _documents(lines: list[str]) -> list[list[str]]:
    """Documents of lines, where blank lines are ends, directly."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line:
            found[-1].append(line)
        else:
            found.append([])
    return [document for document in found if document]
