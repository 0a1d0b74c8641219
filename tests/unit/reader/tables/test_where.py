"""Columns that have several names, and rows with one value in a column."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.errors import DataError
from reader.tables.table import Row, open_table
from reader.tables.where import NoLabel, Selection, Where


def chosen(path: Path, content: str, *names: str) -> list[object]:
    path.write_text(content)
    with open_table(path) as table:
        return [[row.cells.get(name) for name in names] for row in table.choose(*names).rows]


def test_the_first_column_that_exists_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    assert chosen(path, "premise\thypo\nx\ty\n", "text|premise", "hypo|premise") == [["x", "y"]]
    assert chosen(path, "hypo\tpremise\nx\ty\n", "text|premise|hypo", "hypo|premise") == [["y", "x"]]
    assert chosen(path, "a|b\ta\nx\ty\n", "a|b", "a") == [["x", "y"]], "a name with | goes before its parts"


def test_in_json_lines_each_row_is_looked_at(tmp_path: Path) -> None:
    lines = [{"a": "1", "b": "2"}, {"b": "3"}, {"c": {"d": "4"}}, {"e": "5"}, {"a|b|c.d": "6", "a": "7"}]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    assert chosen(tmp_path / "t.jsonl", content, "a|b|c.d") == [["1"], ["3"], ["4"], [None], ["6"]]


def test_none_of_several_columns_is_there(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    message = r":1: there is no column 'text' or 'premises'; did you mean 'premise'\? columns: premise, hypo"
    with pytest.raises(DataError, match=message):
        chosen(path, "premise\thypo\nx\ty\n", "text|premises")


ROWS = st.lists(st.sampled_from([Row(1, {"l": "zh"}), Row(1, {"l": "de"}), Row(1, {}), Row(1, problem="bad")]))


@given(ROWS)
def test_no_row_is_lost_or_counted_twice(rows: list[Row]) -> None:
    where = Where.parse("l=zh")
    selection = Selection(rows, where)
    taken = list(selection)
    others = [row for row in rows if row.cells.get("l") == "de"]
    assert taken == [row for row in rows if row not in others]
    marked = list(where.marked(rows))
    assert [row.problem.startswith("skipped: l is 'de', not 'zh'") for row in marked] == [r in others for r in rows]
    assert (f"{len(others)} skipped: l is not zh" in selection.describe()) == (bool(others) or Row(1, {}) not in rows)
    assert ("no column l" in selection.describe()) == (Row(1, {}) in rows)
    assert list(Selection(rows, None)) == rows
    assert Selection(rows, None).describe() == ""


@given(st.lists(st.sampled_from(["a", "-", "none", " - ", "", None, 0]), max_size=9))
def test_rows_without_a_label(labels: list[object]) -> None:
    """They are counted and not taken; a missing label is another thing, for the reader to refuse."""
    rows = [Row(line, {} if label is None else {"label": label}) for line, label in enumerate(labels, 2)]
    selection = Selection(rows, None, NoLabel("label", ("-", "none", "0")))
    left_out = [row for row in rows if str(row.cells.get("label")).strip() in ("-", "none", "0")]
    assert list(selection) == [row for row in rows if row not in left_out]
    assert selection.unlabelled == len(left_out)
    said = f" ({len(left_out)} skipped: their label is - or none or 0)" if left_out else ""
    assert selection.describe() == said


def test_rows_of_another_language_are_not_counted_as_unlabelled() -> None:
    rows = [Row(2, {"l": "de", "y": "-"}), Row(3, {"l": "zh", "y": "-"}), Row(4, {"l": "zh", "y": "a"})]
    selection = Selection(rows, Where("l", "zh"), NoLabel("y", ("-",)))
    assert [row.line for row in selection] == [4]
    assert selection.describe() == " (1 skipped: l is not zh; 1 skipped: their label is -)"
    selection = Selection(rows[:2], Where("l", "zh"), NoLabel("y", ("-",)))
    assert list(selection) == []
    with pytest.raises(DataError, match=r"t.tsv: none of its rows has a label: 1 have - .--no_label"):
        selection.require_any("t.tsv")


def test_of_several_columns_the_first_is_meant_that_a_row_has() -> None:
    rows = [
        Row(1, {"lang": "zh"}),
        Row(2, {"language": "de", "lang": "zh"}),
        Row(3, {"lang": "de"}),
        Row(4, {"x": "1"}),
    ]
    selection = Selection(rows, Where.parse("language|lang=zh"))
    assert [row.line for row in selection] == [1, 4]
    assert selection.describe() == " (2 skipped: language|lang is not zh; 1 rows: no column language|lang)"


def test_values_of_json_and_what_is_said() -> None:
    rows = [Row(1, {"n": 1, "b": True, "t": " zh "}), Row(2, {"n": 2, "b": False, "t": "de"}), Row(3, {"n": None})]
    for text, said in {
        "n=1": " (2 skipped: n is not 1)",
        "b=true": " (1 skipped: b is not true; 1 rows: no column b)",
        "t=zh": " (1 skipped: t is not zh; 1 rows: no column t)",
        "x=1": " (taken whole: no column x)",
    }.items():
        selection = Selection(rows, Where.parse(text))
        assert next(iter(selection)).line == 1
        selection = Selection(rows, Where.parse(text))
        list(selection)
        assert selection.describe() == said
    assert Where.parse("a = b=c ") == Where("a", "b=c")


def test_conditions_that_are_none_and_tables_without_such_rows() -> None:
    for text in ("language", "=zh", "language="):
        with pytest.raises(DataError, match="write it as COLUMN=VALUE, for example language=zh"):
            Where.parse(text)
    selection = Selection([Row(2, {"l": "de"}), Row(3, {"l": "en"})], Where("l", "zh"))
    assert list(selection) == []
    with pytest.raises(DataError, match=r"t.tsv: none of its 2 rows has 'zh' in the column 'l' .--where"):
        selection.require_any("t.tsv")
    Selection([], Where("l", "zh")).require_any("t.tsv")
