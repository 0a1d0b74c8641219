"""Files of questions: SQuAD's JSON and JSON lines say the same; what cannot be used, and why."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from reader.errors import DataError
from reader.tables.questions import Answer, Question, read_questions

CONTEXT = "Anna lives in 北京, since 1999."
ROWS: list[dict[str, Any]] = [
    {"id": "a", "question": "Who?", "answers": [{"text": "Anna", "answer_start": 0}]},
    {
        "id": "b",
        "question": "Where?",
        "answers": [{"text": "北", "answer_start": 9}, {"text": "北京", "answer_start": 14}],
    },
    {"id": "c", "question": "Why?", "answers": [], "is_impossible": True},
]


def squad(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"version": "x", "data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": rows}]}]}


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps({"context": CONTEXT, **row}) + "\n" for row in rows)


def read(path: Path, content: str | bytes, **options: Any) -> list[Question]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_questions(path, **{"labelled": True, **options}))


def test_both_formats_on_any_number_of_lines_say_the_same(tmp_path: Path) -> None:
    found = read(tmp_path / "q.json", json.dumps(squad(ROWS)))
    assert [(q.number, q.id, q.text, q.problem) for q in found] == [
        (1, "a", "Who?", ""), (2, "b", "Where?", ""), (3, "c", "Why?", "")
    ]  # fmt: skip
    assert found[1].answers == (Answer("北", 9), Answer("北京", 14))
    assert {q.context for q in found} == {CONTEXT}
    assert found == read(tmp_path / "q.json", json.dumps(squad(ROWS), indent=1, ensure_ascii=False))
    assert found == read(tmp_path / "q.json", b"\xef\xbb\xbf" + json.dumps(squad(ROWS)).encode())
    assert found == read(tmp_path / "q.json.gz", gzip.compress(json.dumps(squad(ROWS)).encode()))
    assert found == read(tmp_path / "q.jsonl", lines(ROWS))
    assert found[:1] == read(tmp_path / "q.jsonl", lines(ROWS[:1]))
    lists = {**ROWS[1], "answers": {"text": ["北", "北京"], "answer_start": [9, 14]}}
    assert found == read(tmp_path / "q.jsonl", lines([ROWS[0], lists, ROWS[2]]))


def test_the_answer_that_stands_where_it_says(tmp_path: Path) -> None:
    """The second one of question b does; a negative offset never does."""
    found = read(tmp_path / "q.json", json.dumps(squad(ROWS)))
    assert [q.usable_answer() for q in found] == [Answer("Anna", 0), Answer("北京", 14), None]
    wrong = {"question": "?", "answers": [{"text": "1999.", "answer_start": -5}, {"text": "x", "answer_start": 10**12}]}
    assert read(tmp_path / "w.jsonl", lines([wrong]))[0].usable_answer() is None


def test_why_an_answer_cannot_be_learnt() -> None:
    for text, start, reason in [
        ("Anna", 7, "the answer 'Anna' is not at character 7 of the context, but at 0"),
        ("Anna", -1, "the answer 'Anna' has no place in the context, where it would be at character 0"),
        ("1888", 4, "the answer '1888' does not occur in the context"),
        ("x" * 70, 4, f"the answer '{'x' * 60}…' does not occur in the context"),
        ("Anna", 0, "the tokenizer makes no token of the answer 'Anna'"),
    ]:
        assert Question(1, "a", "?", CONTEXT, (Answer(text, start),)).misplaced() == reason
    learnt = Question(1, "a", "?", CONTEXT, (Answer("Anna", -1),), learnt=Answer("Anna", 2))
    assert "is not at character 2" in learnt.misplaced()


def test_is_impossible_goes_before_answers(tmp_path: Path) -> None:
    row = {**ROWS[0], "is_impossible": True}
    assert read(tmp_path / "q.json", json.dumps(squad([row])))[0].answers == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?"}, "'answers' is missing"),
        ({"answers": []}, "'question' is missing"),
        ({"question": 3, "answers": []}, "'question' is not a text"),
        ({"question": " ", "answers": []}, "the question is empty"),
        ({"question": "?", "context": "", "answers": []}, "the context is empty"),
        ({"question": "\ud800?", "answers": []}, "the question is not Unicode"),
        ({"question": "?", "answers": "Anna"}, "'answers' is not a list"),
        ({"question": "?", "answers": [{"text": "Anna"}]}, "an answer needs a 'text' and a whole number"),
        ({"question": "?", "answers": [{"text": "Anna", "answer_start": "0"}]}, "an answer needs a 'text' and a whole"),
        (
            {"question": "?", "answers": [{"text": "Anna", "answer_start": True}]},
            "an answer needs a 'text' and a whole",
        ),
        ({"question": "?", "answers": [{"text": "", "answer_start": 0}]}, "an answer is empty"),
        ({"question": "?", "answers": {"text": ["Anna"], "answer_start": []}}, "'answers' must be a list of objects"),
    ],
)
def test_a_question_that_cannot_be_used_says_why(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    found = read(tmp_path / "q.jsonl", lines([ROWS[0], row, ROWS[2]]))
    assert [(q.number, bool(q.problem)) for q in found] == [(1, False), (2, True), (3, False)]
    assert message in found[1].problem


def test_an_id_that_occurs_twice_matters_to_answers_only(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "id": "a"}, {**ROWS[2], "id": "a"}, {**ROWS[2], "id": "b"}]
    found = read(tmp_path / "q.jsonl", lines(rows))
    assert [(q.problem, q.repeated, bool(q.text)) for q in found] == [
        ("", False, True),
        ("", True, True),
        ("", False, True),
    ]
    found = read(tmp_path / "q.jsonl", lines(rows), labelled=False)
    assert [q.problem for q in found] == ["", "an earlier question has the same id", ""]


def test_a_blank_question_keeps_its_answers_and_says_that_nothing_else_is_wrong(tmp_path: Path) -> None:
    answers = [{"text": "Anna", "answer_start": 0}]
    rows = [
        {"question": " ", "answers": answers},
        {"question": "?", "context": "", "answers": []},
        {"question": "", "answers": "Anna"},
        {"question": "", "answers": [], "context": 3},
    ]
    found = read(tmp_path / "q.jsonl", lines(rows))
    assert [q.blank for q in found] == [True, True, False, False]
    assert all(q.problem for q in found)
    assert [q.answers for q in found] == [(Answer("Anna", 0),), (), (), ()]
    assert [q.blank for q in read(tmp_path / "q.jsonl", lines(rows), labelled=False)] == [True, True, True, False]


def test_a_question_to_answer_needs_no_id_and_no_answers(tmp_path: Path) -> None:
    row = {"question": "?", "context": "c"}
    assert read(tmp_path / "q.jsonl", lines([row, row]), labelled=False) == [
        Question(1, "1", "?", "c"), Question(2, "2", "?", "c")
    ]  # fmt: skip


def test_a_damaged_line_is_one_question_that_cannot_be_used(tmp_path: Path) -> None:
    found = read(tmp_path / "q.jsonl", lines(ROWS[:1]) + "{broken\n\n[1]\n" + lines(ROWS[2:]))
    assert [q.number for q in found] == [1, 2, 3, 4]
    assert "line 2: not valid JSON" in found[1].problem
    assert "line 4: a JSON object is expected" in found[2].problem


CMRC = [
    {
        "context_id": "T_1",
        "title": "t",
        "context_text": CONTEXT,
        "qas": [
            {"query_id": "T_1_0", "query_text": "Who?", "answers": ["Anna", "n"]},
            {"query_id": "T_1_1", "query_text": "When?", "answers": ["2000"]},
            {"query_id": "T_1_2", "query_text": "Where?", "answers": ["2000", "北京"]},
        ],
    },
    {"context_id": "T_2", "title": "u", "context_text": "甲乙甲乙", "qas": [{"query_text": "?", "answers": ["乙"]}]},
]


def test_cmrc_2018_in_its_own_layout(tmp_path: Path) -> None:
    """An answer is where it occurs first; one that does not occur is no usable answer, but counts for the metrics."""
    found = read(tmp_path / "q.json", json.dumps(CMRC, indent=1, ensure_ascii=False))
    assert [(q.id, q.text, q.context, q.problem) for q in found] == [
        ("T_1_0", "Who?", CONTEXT, ""),
        ("T_1_1", "When?", CONTEXT, ""),
        ("T_1_2", "Where?", CONTEXT, ""),
        ("4", "?", "甲乙甲乙", ""),
    ]
    assert found[0].answers == (Answer("Anna", 0), Answer("n", 1))
    assert found[1].answers == (Answer("2000", -1),)
    assert [q.usable_answer() for q in found] == [Answer("Anna", 0), None, Answer("北京", 14), Answer("乙", 1)]
    assert found == read(tmp_path / "q.json", json.dumps(CMRC), format="squad")
    asked = read(tmp_path / "q.json", json.dumps(CMRC), labelled=False)
    assert [q.text for q in asked] == ["Who?", "When?", "Where?", "?"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": the file is empty"),
        ('[{"context_text": "c"}]', r": \[0\] has no list 'qas'; expected \[{\"context_text\""),
        ('[{"qas": []}]', r": \[0\] has no 'context_text'"),
        ('[{"context_text": "c", "qas": ["q"]}]', r": \[0\].qas\[0\] is not an object"),
        ("[3]", r": \[0\] has no list 'qas'"),
        (" \n", ": the file is empty"),
        (b'{"data":\n [\n"caf\xe9"]}', ":3: not UTF-8; convert"),
        ('{"data":\n [', ":2: not valid JSON"),
        ('{"rows": []}', ": the document has no list 'data'; expected {\"data\""),
        ('{"data": [{"title": "t"}]}', r": data\[0\] has no list 'paragraphs'"),
        ('{"data": [{"paragraphs": [{"context": "c"}]}]}', r": data\[0\].paragraphs\[0\] has no list 'qas'"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', r": data\[0\].paragraphs\[0\] has no 'context'"),
        ('{"data": [{"paragraphs": [{"context": "c", "qas": [7]}]}]}', r"qas\[0\] is not an object"),
        ("a\tb\nc\td\n", ":1: not valid JSON"),
    ],
)
def test_what_is_no_file_of_questions(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "q.json"
    with pytest.raises(DataError, match=message) as error:
        read(path, content)
    assert str(error.value).startswith(f"{path}:")


def test_a_format_that_holds_no_questions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="format 'csv' holds no questions; give one of auto, squad, jsonl"):
        read(tmp_path / "q.json", "{}", format="csv")
    with pytest.raises(FileNotFoundError):
        list(read_questions(tmp_path / "absent.json", labelled=True))


def test_published_files_are_read_whole(test_data: Path) -> None:
    """Numbers of questions as counted when the samples were made; one set has two questions without a text."""
    wanted = {
        "squad/dev-v1.1-partA.json.gz": (4961, 0, 0),
        "zh/cmrc2018/trial.json.gz": (1002, 2, None),
        "zh/drcd/dev_part.json.gz": (2123, 0, 0),
        "mlqa/dev-context-zh-question-zh.json.gz": (504, 0, 0),
    }
    for name, (number, problems, wrong) in wanted.items():
        found = list(read_questions(test_data / name, labelled=True))
        assert (len(found), sum(bool(q.problem) for q in found)) == (number, problems), name
        if wrong is not None:
            assert sum(q.usable_answer() is None for q in found) == wrong, name
