"""Tables: every row is either cells or a reason with its line, in all formats."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader.errors import DataError
from reader.tables.table import Row, open_table


def rows(path: Path | str, **options: object) -> list[Row]:
    with open_table(path, **options) as table:  # type: ignore[arg-type]
        return list(table.rows)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def test_tsv_takes_quotes_literally_and_keeps_line_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\r\n"He said\t0\r\nx\u2028y\x85z"\t1\r\n')
    assert rows(path) == [Row(2, {"text": '"He said', "label": "0"}), Row(3, {"text": 'x\u2028y\x85z"', "label": "1"})]


def test_csv_quotes_and_line_of_a_record_that_spans_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one\ntwo, ""three""",0\nlast,1\n')
    assert rows(path) == [Row(2, {"text": 'one\ntwo, "three"', "label": "0"}), Row(4, {"text": "last", "label": "1"})]


def test_jsonl_values_keep_their_types(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "a\\tb", "label": 1}\n{"text": "c", "label": true}\n')
    assert rows(path) == [Row(1, {"text": "a\tb", "label": 1}), Row(2, {"text": "c", "label": True})]


def test_gz_and_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv.gz", gzip.compress("\ufefftext\tlabel\nä\t1\n".encode()))
    with open_table(path) as table:
        assert (table.format, table.columns, list(table.rows)) == (
            "tsv",
            ["text", "label"],
            [Row(2, {"text": "ä", "label": "1"})],
        )


def test_without_header_columns_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "gj04\t1\t\tThe ropes stretch.\n")
    assert rows(path, header=False) == [Row(1, {"1": "gj04", "2": "1", "3": "", "4": "The ropes stretch."})]


def test_wrong_number_of_columns_and_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "a\tb\n1\t2\n\n1\t2\t3\n1\n4\t5\n\n\n")
    found = rows(path)
    assert [(row.line, row.problem) for row in found] == [
        (2, ""),
        (3, "empty line"),
        (4, "3 columns where the header has 2"),
        (5, "1 columns where the header has 2"),
        (6, ""),
    ]


def test_json_problems_name_the_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n{"a": \n[1]\n\n{"a": "\\ud800"}\n{"a": 2}\n\n')
    problems = {row.line: row.problem for row in rows(path)}
    assert problems[1] == problems[6] == ""
    assert problems[2].startswith("not valid JSON")
    assert problems[3] == "a JSON object is expected, found list"
    assert problems[4] == "empty line"
    assert "column 'a' is not Unicode (half of a surrogate pair)" in problems[5]
    assert len(problems) == 6


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_latin1_is_reported_on_its_line_only(tmp_path: Path, name: str) -> None:
    separator = b"\t" if name.endswith("tsv") else b","
    path = write(tmp_path / name, b"t" + separator + b"l\nok" + separator + b"1\ncaf\xe9" + separator + b"1\n")
    assert [bool(row.problem) for row in rows(path)] == [False, True]
    assert "not UTF-8" in rows(path)[1].problem


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "text\tlabel\nx\t1\n".encode("utf-16"), "UTF-16"),
        ("a.tsv.gz", gzip.compress(b"text\tlabel\n" * 100, mtime=0)[:-9], "damaged gzip"),
        ("a.csv", 'a,b\n"x,1\ny,2\n', "not valid CSV"),
        ("a.tsv", "", "the file is empty"),
        ("a.jsonl", "", "the file is empty"),
        ("a.xyz", "a\tb\n", "cannot tell the format"),
        ("a.tsv", "a\ta\n1\t2\n", "names the column 'a' twice$"),
        (
            "a.tsv",
            "a\tl\rx\t1\rx\t1\rx\t1\r",
            r"names the column '1\\rx' twice; its lines end in carriage returns alone",
        ),
    ],
    ids=[
        "utf-16",
        "damaged-gzip",
        "open-quote",
        "empty-tsv",
        "empty-jsonl",
        "unknown-extension",
        "column-twice",
        "carriage-returns",
    ],
)
def test_unusable_files(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as error:
        rows(path)
    assert str(path) in str(error.value)


def test_missing_column_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "sentence\tlabel\nx\t1\n")
    with open_table(path) as table, pytest.raises(DataError, match="no column 'sentense'; did you mean 'sentence'"):
        table.require("sentense")


def test_what_is_no_header_is_shown_in_part(tmp_path: Path) -> None:
    """Sentences instead of names, a file that is one line to us, and more columns than anyone reads."""
    path = tmp_path / "a.tsv"
    for content, shown in [
        ("It " * 50 + "\tyes\nx\tno\n", "columns: " + "It " * 26 + "It…; the first row must name the columns"),
        (
            "a\tlabel\r" + "".join(f"{'x ' * 20}\t{row}\r" for row in range(90)),
            f"columns: a, label\r{'x ' * 20}, 0\r{'x ' * 13}x…; the first row",
        ),
        ("a\tlabel\rx\tyes\ry\tno\r", "the columns; its lines end in carriage returns alone, make them line feeds"),
        ("text\rx" + "\ry" * 999, "columns: text\rx" + "\ry" * 37 + "…; the first row"),
        ("\t".join(map(str, range(33))) + "\n", "columns: 0, 1, 2, 3"),
    ]:
        write(path, content)
        with open_table(path) as table, pytest.raises(DataError, match="no column 'sentence'") as error:
            table.require("sentence")
        assert shown in str(error.value)
        assert len(str(error.value)) - len(str(path)) < 240
    assert "18, 19, … (33 in all); the first row" in str(error.value)


@pytest.mark.parametrize(
    ("content", "header", "wanted", "csv"),
    [
        ("text,label\nx,1\n", True, "text", True),
        ("x,1\n", False, "2", True),
        ("sentence\nx, y\n", True, "text", False),
        ("a,b\tc\nx\t1\n", True, "text", False),
    ],
)
def test_csv_on_standard_input_is_told_the_option(
    monkeypatch: pytest.MonkeyPatch, content: str, header: bool, wanted: str, csv: bool
) -> None:
    """Only where it may be CSV: as TSV it has one column; and with that option it is read."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    with open_table("-", header=header) as table, pytest.raises(DataError, match=f"no column '{wanted}'") as error:
        table.require(wanted)
    assert str(error.value).endswith("; if this is CSV, give --format csv") == csv
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    if csv:
        with open_table("-", "csv", header) as table:
            table.require(wanted)
            assert [row.problem for row in table.rows] == [""]


@pytest.mark.parametrize(("content", "kind"), [('{"t": "x"}\n', "jsonl"), ("t\nx\n", "tsv")])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, content: str, kind: str) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    with open_table("-") as table:
        assert table.format == kind
        assert [row.cells for row in table.rows] == [{"t": "x"}]


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n\x00"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(table=st.lists(st.tuples(cell.filter(bool), cell), min_size=1, max_size=6))
def test_three_formats_say_the_same(tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]]) -> None:
    import csv

    folder = tmp_path_factory.mktemp("tables")
    write(folder / "a.tsv", "x\ty\n" + "".join(f"{a}\t{b}\n" for a, b in table))
    with open(folder / "a.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("x", "y"), *table])
    write(folder / "a.jsonl", "".join(json.dumps({"x": a, "y": b}) + "\n" for a, b in table))
    expected = [{"x": a, "y": b} for a, b in table]
    for suffix in ("tsv", "csv", "jsonl"):
        assert [row.cells for row in rows(folder / f"a.{suffix}")] == expected
