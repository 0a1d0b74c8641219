"""Flat rows from published JSON lines that hold several rows in each line, or that name the cells of a row differently.

`multirc`, `record` and `copa` are files of SuperGLUE (Wang et al., 2019). A line is used whole or not at all: an error
anywhere in a line makes the whole line unusable, so that no question is read with only some of its answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PLACEHOLDER = "@placeholder"
_HIGHLIGHT = re.compile(r"\s*@highlight\s*")
# The questions as the authors of COPA word them (Roemmele et al., 2011).
_COPA_QUESTIONS = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}


class NestedRecordError(ValueError):
    """A record is not in the published layout; the message says where and why."""


@dataclass(frozen=True)
class Nested:
    """A format: the columns of its rows, and the function that makes a record's rows or raises NestedRecordError."""

    columns: tuple[str, ...]
    rows: Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]


def _multirc(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each answer of each question; rows of test files have no `label`."""
    passage = _object(record, "passage", "")
    text = _text(passage, "text", "passage")
    for i, question in enumerate(_objects(passage, "questions", "passage")):
        where = f"passage.questions[{i}]"
        asked = _text(question, "question", where)
        for j, answer in enumerate(_objects(question, "answers", where)):
            # Unlike all other texts an answer may be empty: an empty answer can be right or wrong, too.
            given = _string(answer, "text", f"{where}.answers[{j}]")
            yield {
                "passage": text,
                "question": asked,
                "answer": given,
                "question_answer": f"{asked} {given}".strip(),
                "passage_idx": record.get("idx"),
                "question_idx": question.get("idx", i),
                "answer_idx": answer.get("idx", j),
                **({"label": answer["label"]} if "label" in answer else {}),
            }


def _record(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each query and each distinct text of an entity; the label is 1 if the text is one of the answers."""
    passage = _object(record, "passage", "")
    published = _text(passage, "text", "passage")
    candidates = _entities(published, _objects(passage, "entities", "passage"))
    text = _HIGHLIGHT.sub(" ", published).strip()
    for i, query in enumerate(_objects(record, "qas", "")):
        where = f"qas[{i}]"
        asked = _text(query, "query", where)
        if PLACEHOLDER not in asked:
            raise NestedRecordError(f"{where}.query has no {PLACEHOLDER}")
        answers = None
        if "answers" in query:
            found = _objects(query, "answers", where)
            answers = {_text(answer, "text", f"{where}.answers[{j}]") for j, answer in enumerate(found)}
        for candidate in candidates:
            yield {
                "passage": text,
                "query": asked.replace(PLACEHOLDER, candidate),
                "candidate": candidate,
                "passage_idx": record.get("idx"),
                "query_idx": query.get("idx", i),
                **({} if answers is None else {"label": int(candidate in answers)}),
            }


def _entities(text: str, entities: Sequence[Mapping[str, Any]]) -> list[str]:
    """The distinct texts of the entities by position; `end` of an entity is the position of its last character."""
    places = []
    for i, entity in enumerate(entities):
        start, end = entity.get("start"), entity.get("end")
        if type(start) is not int or type(end) is not int or not 0 <= start <= end < len(text):
            raise NestedRecordError(f"passage.entities[{i}]: {start!r} to {end!r} is not a place in the passage")
        places.append((start, end))
    found = dict.fromkeys(text[start : end + 1] for start, end in sorted(places))
    candidates = [candidate for candidate in found if candidate.strip()]
    if not candidates:
        raise NestedRecordError("passage.entities names no entity")
    return candidates


def _copa(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The row of a record, with `question` as a sentence; the file's value ("cause" or "effect") is in `asked_for`."""
    asked_for = record.get("question")
    if asked_for not in _COPA_QUESTIONS:
        raise NestedRecordError(f"'question' is {asked_for!r}; it must be cause or effect")
    yield {**record, "question": _COPA_QUESTIONS[asked_for], "asked_for": asked_for}


NESTED = {
    "multirc": Nested(
        (
            *("passage", "question", "answer", "question_answer", "label"),
            *("passage_idx", "question_idx", "answer_idx"),
        ),
        _multirc,
    ),
    "record": Nested(("passage", "query", "candidate", "label", "passage_idx", "query_idx"), _record),
    "copa": Nested(("premise", "question", "choice1", "choice2", "label", "idx", "asked_for"), _copa),
}
"""The formats by name."""


def _object(record: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = record.get(key)
    if not isinstance(value, dict):
        raise NestedRecordError(f"{_place(where, key)} is missing or not an object")
    return value


def _objects(record: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    value = record.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise NestedRecordError(f"{_place(where, key)} is missing or not a list of objects")
    return value


def _string(record: Mapping[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise NestedRecordError(f"{_place(where, key)} is missing or not a text")
    return value


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = _string(record, key, where)
    if not value.strip():
        raise NestedRecordError(f"{_place(where, key)} is empty")
    return value


def _place(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
