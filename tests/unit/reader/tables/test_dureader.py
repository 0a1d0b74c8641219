"""DuReader 2.0: which paragraphs are read, what is learnt, what is scored, and lines that cannot be used."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from reader.tables.questions import Answer, Question, read_questions


def document(*paragraphs: list[str], best: int | None = None) -> dict[str, Any]:
    plain = {"title": "t", "segmented_paragraphs": list(paragraphs), "paragraphs": [" ".join(p) for p in paragraphs]}
    return plain if best is None else {**plain, "most_related_para": best}


FIRST = document(["海", "很", "大"], ["海", "里", "有", "盐", "。"], best=1)
SECOND = document(["盐", "是", "白", "的"], best=0)
LINE: dict[str, Any] = {
    "question_id": 7,
    "question": "海里有什么",
    "documents": [FIRST, document(best=0), SECOND],
    "answers": ["有白色的盐", "盐"],
    "answer_spans": [[1, 3]],
    "answer_docs": [2],
    "fake_answers": ["是白的"],
}
CONTEXT = "海里有盐。\n盐是白的"
REFERENCES = (Answer("有白色的盐", -1), Answer("盐", -1))


def read(path: Path, *lines: dict[str, Any] | str, labelled: bool = True) -> list[Question]:
    written = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("".join(line + "\n" for line in written), encoding="utf-8")
    return list(read_questions(path, labelled=labelled))


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in LINE.items() if key not in keys}


def test_the_most_related_paragraphs_and_what_is_learnt(tmp_path: Path) -> None:
    [question] = read(tmp_path / "search.train.json", LINE)
    assert question == Question(1, "7", "海里有什么", CONTEXT, REFERENCES, learnt=Answer("是白的", 7))
    assert question.usable_answer() == Answer("是白的", 7)
    assert CONTEXT[7:10] == "是白的"
    [asked] = read(tmp_path / "search.test.json", without("answers", "answer_spans"), labelled=False)
    assert asked == Question(1, "7", "海里有什么", CONTEXT)


def test_documents_that_name_no_paragraph_are_read_whole(tmp_path: Path) -> None:
    documents = [document(["海", "大"], ["有", "盐"]), {"paragraphs": ["salt is white", "yes"]}, {"paragraphs": []}]
    documents[0]["most_related_para"] = -1
    [question] = read(tmp_path / "f.json", {**LINE, "documents": documents}, labelled=False)
    assert question.context == "海大\n有盐\nsalt is white\nyes"


@pytest.mark.parametrize(
    "change",
    [
        {"answer_spans": []},
        {"answer_docs": [3]},
        {"answer_spans": [[1, 4]]},
        {"answer_spans": [[-1, 3]]},
        {"answer_spans": [[0, 3]]},
        {"answer_spans": ["1"]},
        {"fake_answers": ["盐是白的"]},
        {"answer_docs": [1], "answer_spans": [[0, 0]]},
    ],
)
def test_an_answer_that_is_no_part_of_the_text_is_scored_but_not_learnt(tmp_path: Path, change: dict[str, Any]) -> None:
    [question] = read(tmp_path / "f.json", {**LINE, **change})
    assert (question.problem, question.answers) == ("", REFERENCES)
    assert question.usable_answer() is None


def test_questions_without_reference_are_left_out(tmp_path: Path) -> None:
    for answers in ([], [" "]):
        [question] = read(tmp_path / "f.json", {**LINE, "answers": answers})
        assert (question.left_out, question.problem) == (True, "there is no reference answer")
        [asked] = read(tmp_path / "f.json", {**LINE, "answers": answers}, labelled=False)
        assert (asked.left_out, asked.problem, asked.context) == (False, "", CONTEXT)


def test_lines_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    bad = {
        "'question' is missing": without("question"),
        "'answers' is not a list of texts": {**LINE, "answers": "盐"},
        "'documents' is missing or not a list of objects": {**LINE, "documents": [1]},
        "documents[1] has no 'segmented_paragraphs'": {**LINE, "documents": [FIRST, {}]},
        "documents[0]: most_related_para is 2, but it has 2": {
            **LINE,
            "documents": [{**FIRST, "most_related_para": 2}],
        },
        "the context is empty": {**LINE, "documents": []},
        "line 8: not valid JSON": "{",
        "line 9: a JSON object is expected": "[]",
    }
    questions = read(tmp_path / "f.json", LINE, *bad.values(), LINE)
    for question, message in zip(questions[1:-1], bad, strict=True):
        assert message in question.problem
    assert (questions[-1].problem, questions[-1].repeated) == ("", True)


def test_a_squad_file_that_speaks_of_documents_stays_one(tmp_path: Path) -> None:
    answer = {"text": "documents", "answer_start": 4}
    squad = {"qas": [{"id": "1", "question": "what", "answers": [answer]}], "context": "the documents"}
    [question] = read(tmp_path / "f.json", {"data": [{"title": "documents", "paragraphs": [squad]}]})
    assert question.usable_answer() == Answer("documents", 4)


def test_real_questions(test_data: Path) -> None:
    path = test_data / "zh" / "dureader" / "search.dev.demo_30.json.gz"
    records = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    questions = list(read_questions(path, labelled=True))
    assert [question.id for question in questions] == [str(record["question_id"]) for record in records]
    assert [question.left_out for question in questions] == [not record["answers"] for record in records]
    for question, record in zip(questions, records, strict=True):
        if question.left_out:
            continue
        read_of = [d["segmented_paragraphs"][d["most_related_para"]] for d in record["documents"]]
        assert question.context == "\n".join(map("".join, read_of))
        assert [answer.text for answer in question.answers] == record["answers"]
        learnt = question.usable_answer()
        assert learnt is not None
        assert learnt.text == record["fake_answers"][0]
