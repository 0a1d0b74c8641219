"""Published nested layouts as flat rows, against rows written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from reader.errors import DataError
from reader.tables.table import Row, open_table

PASSAGE = "Tom Reed met Ann in Oslo.\n@highlight\nAnn Lee lives in Oslo"
MULTIRC = {
    "idx": 4,
    "version": 1.1,
    "passage": {
        "text": "The dog slept. The cat ran.",
        "questions": [
            {
                "question": "Who slept?",
                "answers": [{"text": "The dog", "idx": 9, "label": 1}, {"text": "The cat", "idx": 10, "label": 0}],
                "idx": 6,
            },
            {"question": "Who ran?", "answers": [{"text": "The cat", "idx": 11, "label": 1}], "idx": 7},
        ],
    },
}


def entity(text: str, nth: int = 0) -> dict[str, Any]:
    """Where the published files say that a text stands: the end is its last character."""
    start = -1
    for _ in range(nth + 1):
        start = PASSAGE.index(text, start + 1)
    return {"start": start, "end": start + len(text) - 1}


RECORD = {
    "source": "Newspaper",
    "idx": 2,
    "passage": {
        "text": PASSAGE,
        "entities": [entity("Oslo", 1), entity("Tom Reed"), entity("Oslo"), entity("Ann"), entity("Ann Lee")],
    },
    "qas": [
        {
            "query": "@placeholder was visited by Tom Reed",
            "answers": [{**entity("Oslo"), "text": "Oslo"}, {**entity("Oslo", 1), "text": "Oslo"}],
            "idx": 8,
        },
        {"query": "It was @placeholder who came", "answers": [{**entity("Tom Reed"), "text": "Tom Reed"}], "idx": 9},
    ],
}
COPA = {"premise": "The lawn was wet.", "choice1": "It rained.", "choice2": "It was noon.", "question": "cause"}


def read(path: Path, format: str, *lines: object) -> list[Row]:
    """The rows of a file with these lines: text as it is, anything else as JSON."""
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    with open_table(path, format) as table:
        return list(table.rows)


def test_multirc_has_a_row_for_each_answer_of_each_question(tmp_path: Path) -> None:
    rows = read(tmp_path / "val.jsonl", "multirc", MULTIRC, MULTIRC)
    assert [(row.line, row.part) for row in rows] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    shown = ("question", "answer", "question_answer", "label", "passage_idx", "question_idx", "answer_idx")
    assert [tuple(row.cells[name] for name in shown) for row in rows[:3]] == [
        ("Who slept?", "The dog", "Who slept? The dog", 1, 4, 6, 9),
        ("Who slept?", "The cat", "Who slept? The cat", 0, 4, 6, 10),
        ("Who ran?", "The cat", "Who ran? The cat", 1, 4, 7, 11),
    ]
    assert {row.cells["passage"] for row in rows} == {"The dog slept. The cat ran."}
    without = changed(MULTIRC, ("passage", "questions", 0, "answers", 1, "text"), "")
    assert read(tmp_path / "val.jsonl", "multirc", without)[1].cells["question_answer"] == "Who slept?"


def test_record_has_a_row_for_each_query_and_different_entity(tmp_path: Path) -> None:
    rows = read(tmp_path / "val.jsonl", "record", RECORD)
    assert [(row.cells["query_idx"], row.cells["candidate"], row.cells["label"]) for row in rows] == [
        *((8, "Tom Reed", 0), (8, "Ann", 0), (8, "Oslo", 1), (8, "Ann Lee", 0)),
        *((9, "Tom Reed", 1), (9, "Ann", 0), (9, "Oslo", 0), (9, "Ann Lee", 0)),
    ]
    assert rows[2].cells["query"] == "Oslo was visited by Tom Reed"
    assert rows[4].cells["query"] == "It was Tom Reed who came"
    assert {row.cells["passage"] for row in rows} == {"Tom Reed met Ann in Oslo. Ann Lee lives in Oslo"}


def test_copa_asks_in_whole_sentences(tmp_path: Path) -> None:
    effect = {**COPA, "question": "effect", "label": 1, "idx": 3}
    first, second = read(tmp_path / "val.jsonl", "copa", COPA, effect)
    assert first.cells == {**COPA, "question": "What was the cause of this?", "asked_for": "cause"}
    assert second.cells == {**effect, "question": "What happened as a result?", "asked_for": "effect"}


def test_test_files_have_no_labels(tmp_path: Path) -> None:
    without: dict[str, Any] = json.loads(json.dumps({"multirc": MULTIRC, "record": RECORD}))
    for question in without["multirc"]["passage"]["questions"]:
        for answer in question["answers"]:
            del answer["label"]
    for query in without["record"]["qas"]:
        del query["answers"]
    for format, record in without.items():
        rows = read(tmp_path / "test.jsonl", format, record)
        assert len(rows) == {"multirc": 3, "record": 8}[format]
        assert not any("label" in row.cells for row in rows)


def changed(record: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A copy with another value in one place."""
    copy: Any = json.loads(json.dumps(record))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return dict(copy)


@pytest.mark.parametrize(
    ("format", "line", "message"),
    [
        ("multirc", changed(MULTIRC, ("passage",), "text"), "layout of multirc: passage is missing or not an object"),
        ("multirc", changed(MULTIRC, ("passage", "text"), " "), "passage.text is empty"),
        ("multirc", changed(MULTIRC, ("passage", "questions", 1, "answers"), None), r"questions\[1\].answers is miss"),
        (
            "multirc",
            changed(MULTIRC, ("passage", "questions", 0, "answers", 1, "text"), 3),
            r"passage.questions\[0\].answers\[1\].text is missing",
        ),
        ("multirc", changed(MULTIRC, ("passage", "questions"), []), "no question in it"),
        ("multirc", changed(MULTIRC, ("passage", "questions", 0, "answers", 1, "text"), "\ud800"), "is not Unicode"),
        ("multirc", "{", "not valid JSON"),
        ("record", changed(RECORD, ("passage", "entities", 2, "end"), 500), r"entities\[2\]: 20 to 500 is not a place"),
        ("record", changed(RECORD, ("passage", "entities", 2, "start"), "x"), r"entities\[2\]: 'x' to 23 is not"),
        ("record", changed(RECORD, ("passage", "entities"), []), "names no entity"),
        ("record", changed(RECORD, ("qas", 1, "query"), "nothing"), r"qas\[1\].query has no @placeholder"),
        ("copa", {**COPA, "question": "why"}, "'question' is 'why'; it must be cause or effect"),
    ],
)
def test_a_line_that_is_wrong_anywhere_is_one_unusable_row(
    tmp_path: Path, format: str, line: object, message: str
) -> None:
    good = {"multirc": MULTIRC, "record": RECORD, "copa": COPA}[format]
    rows = read(tmp_path / "train.jsonl", format, good, line, good)
    unusable = [row for row in rows if row.problem]
    assert [row.line for row in unusable] == [2]
    assert re.search(message, unusable[0].problem)
    assert sum(row.line == 3 for row in rows) == {"multirc": 3, "record": 8, "copa": 1}[format]


def test_columns_are_known_before_any_row(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(MULTIRC) + "\n")
    with open_table(path, "multirc") as table:
        table.require("passage", "question_answer", "label")
        with pytest.raises(DataError, match="there is no column 'pasage'; did you mean 'passage'"):
            table.require("pasage")


def test_what_lies_inside_objects_has_a_dotted_name(tmp_path: Path) -> None:
    target = {"span1_text": "Mark", "span1_index": 0, "more": {"deep": [1]}}
    row = read(tmp_path / "t.jsonl", "auto", {"target": target, "target.span1_index": 7, "text": "Mark ran"})[0]
    assert row.cells["target.span1_text"] == "Mark"
    assert row.cells["target.more.deep"] == [1]
    assert row.cells["target.span1_index"] == 7, "a key of its own goes before"
    assert row.cells["target"] == target
    bad = read(tmp_path / "t.jsonl", "auto", '{"target": {"span1_text": "\\ud800"}}')[0]
    assert "column 'target.span1_text' is not Unicode" in bad.problem
