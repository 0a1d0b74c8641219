"""Questions about texts in the JSON of SQuAD 1.1 and 2.0 (and so MLQA, CMRC 2018, DRCD, TyDi QA), or as JSON lines.

JSON lines with `documents` are those of DuReader 2.0, see `reader.tables.dureader`.

The first release of CMRC 2018 is a list of texts, `[{"context_text": …, "qas": [{"query_id": …, "query_text": …,
"answers": ["…", …]}]}]`, without positions: an answer is assumed to be at the first occurrence of its text.

A line of JSON lines is `{"id": …, "question": …, "context": …, "answers": [{"text": …, "answer_start": …}, …]}`; `id`
and, where answers are not needed, `answers` may be missing.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reader.errors import DataError
from reader.files.encodings import not_utf8, refuse_utf16
from reader.tables.dureader import DuReaderError, DuReaderQuestion, dureader_question
from reader.tables.table import open_bytes, shown_name

SQUAD = "squad"
FORMATS = ("auto", SQUAD, "jsonl")
_DUREADER = re.compile(rb'"documents"\s*:')
_SHOWN = 60
_SURROGATE = re.compile("[\ud800-\udfff]")
_CMRC_LAYOUT = (
    'expected [{"context_text": …, "qas": [{"query_id": …, "query_text": …, "answers": [texts]}]}], or SQuAD\'s '
    '{"data": [{"paragraphs": …}]}'
)
_LAYOUT = 'expected {"data": [{"paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "answers": …}]}]}]}'


@dataclass(frozen=True)
class Answer:
    """The text of an answer, and the position in the context where it begins; -1 if the position is not known."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question about a context; a question without answer has no `answers`.

    `number` counts the questions of the file from 1. `problem` says why the question is unusable ("": it is usable).
    `blank`: it is unusable only because its text or its context is empty, as happens in published sets; its answers are
    kept. `left_out`: it is unusable only because its data set has no reference answer to it. `learnt`: the answer to
    learn, where `answers` are for scoring only. `repeated`: an earlier question has the same id.
    """

    number: int
    id: str
    text: str = ""
    context: str = ""
    answers: tuple[Answer, ...] = ()
    problem: str = ""
    blank: bool = False
    left_out: bool = False
    learnt: Answer | None = None
    repeated: bool = False

    def usable_answer(self) -> Answer | None:
        """The answer to learn: the first one that stands at its position in the context; None if there is none."""
        answers = self.answers if self.learnt is None else (self.learnt,)
        return next((a for a in answers if a.start >= 0 and self.context.startswith(a.text, a.start)), None)

    def misplaced(self) -> str:
        """Why no answer can be learnt: the position of the first one as given and as found in its context."""
        wanted = self.learnt or self.answers[0]
        shown = repr(wanted.text if len(wanted.text) <= _SHOWN else wanted.text[:_SHOWN] + "…")
        place = self.context.find(wanted.text)
        if self.usable_answer() is not None:
            return f"the tokenizer makes no token of the answer {shown}"
        if place < 0:
            return f"the answer {shown} does not occur in the context"
        if wanted.start < 0:
            return f"the answer {shown} has no place in the context, where it would be at character {place}"
        return f"the answer {shown} is not at character {wanted.start} of the context, but at {place}"


def read_questions(path: str | Path, format: str = "auto", *, labelled: bool) -> Iterator[Question]:
    """The questions of a file, in order; an unusable question carries the reason.

    A second question with the same id can be trained on, but not answered, since answers are identified by the id.

    Args:
        path: a file, also .gz, or "-" for standard input.
        format: one of FORMATS; "auto" goes by the content.
        labelled: whether a question must have `answers` (which may be empty).

    Raises:
        DataError: the file is not UTF-8, not JSON, or not in SQuAD's layout; the message names the line or the place.
    """
    name = shown_name(path)
    if format not in FORMATS:
        raise DataError(f"{name}: format {format!r} holds no questions; give one of {', '.join(FORMATS)}")
    with open_bytes(path) as stream:
        first = stream.readline().removeprefix(b"\xef\xbb\xbf")
        if format != SQUAD and _DUREADER.search(first):
            # These files have gigabytes, unlike all others, and are read line by line.
            lines = (line.decode("utf-8", "surrogateescape") for line in itertools.chain([first], stream))
            yield from _questions(map(_dureader_record, _line_records(lines)), labelled)
            return
        raw = first + stream.read()
    refuse_utf16(raw, name)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}:{line}: {not_utf8(raw)}") from None
    if not text.strip():
        raise DataError(f"{name}: the file is empty")
    yield from _questions(
        _line_records(text.split("\n")) if _holds_lines(text, format, name) else _squad_records(text, name), labelled
    )


def _questions(records: Iterable[dict[str, Any] | DuReaderQuestion | str], labelled: bool) -> Iterator[Question]:
    """The questions of records; a text in place of a record is the reason why the record is unusable."""
    seen: set[str] = set()
    for number, record in enumerate(records, 1):
        if isinstance(record, str):
            yield Question(number, str(number), problem=record)
            continue
        if isinstance(record, DuReaderQuestion):
            question = _from_dureader(number, record, labelled)
        else:
            question = _question(number, record, labelled)
        if question.id in seen and not question.problem:
            problem = "" if labelled else "an earlier question has the same id"
            question = replace(question, problem=problem, repeated=True)
        seen.add(question.id)
        yield question


def _holds_lines(text: str, format: str, name: str) -> bool:
    if format != "auto":
        return format == "jsonl"
    first, _, rest = text.lstrip().partition("\n")
    try:
        value = json.loads(first)
    except (json.JSONDecodeError, RecursionError):
        # A document on several lines, or lines of which the first is damaged: the error of the document serves both.
        return False
    return bool(rest.strip()) or (isinstance(value, dict) and "data" not in value and "question" in value)


def _line_records(lines: Iterable[str]) -> Iterator[dict[str, Any] | str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            yield f"line {number}: not valid JSON ({getattr(error, 'msg', 'too deeply nested')})"
            continue
        yield value if isinstance(value, dict) else f"line {number}: a JSON object is expected"


def _dureader_record(record: dict[str, Any] | str) -> DuReaderQuestion | str:
    if isinstance(record, str):
        return record
    try:
        return dureader_question(record)
    except DuReaderError as error:
        return f"({record.get('question_id')}) not in the layout of DuReader 2.0: {error}"


def _from_dureader(number: int, found: DuReaderQuestion, labelled: bool) -> Question:
    plain = {"id": found.id or None, "question": found.question, "context": found.context}
    references = [{"text": text, "answer_start": -1} for text in found.references]
    question = _question(number, {**plain, "answers": references}, labelled)
    if labelled and not question.problem and not references:
        return replace(question, problem="there is no reference answer", left_out=True)
    return replace(question, learnt=Answer(*found.learnt)) if labelled and found.learnt else question


def _squad_records(text: str, name: str) -> Iterator[dict[str, Any]]:
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        reason = getattr(error, "msg", "too deeply nested")
        raise DataError(f"{name}:{getattr(error, 'lineno', 1)}: not valid JSON ({reason})") from None
    if isinstance(document, list):
        yield from _cmrc_records(document, name)
        return
    articles = _list(document, "data", name, "the document")
    for i, article in enumerate(articles):
        for j, paragraph in enumerate(_list(article, "paragraphs", name, f"data[{i}]")):
            where = f"data[{i}].paragraphs[{j}]"
            questions = _list(paragraph, "qas", name, where)
            if "context" not in paragraph:
                raise DataError(f"{name}: {where} has no 'context'; {_LAYOUT}")
            for k, question in enumerate(questions):
                if not isinstance(question, dict):
                    raise DataError(f"{name}: {where}.qas[{k}] is not an object; {_LAYOUT}")
                yield {**question, "context": paragraph["context"]}


def _cmrc_records(texts: list[Any], name: str) -> Iterator[dict[str, Any]]:
    """The questions of CMRC's own layout, converted to SQuAD's; an answer that occurs nowhere starts at -1."""
    for i, text in enumerate(texts):
        questions = _list(text, "qas", name, f"[{i}]", _CMRC_LAYOUT)
        if "context_text" not in text:
            raise DataError(f"{name}: [{i}] has no 'context_text'; {_CMRC_LAYOUT}")
        context = text["context_text"]
        for j, question in enumerate(questions):
            if not isinstance(question, dict):
                raise DataError(f"{name}: [{i}].qas[{j}] is not an object; {_CMRC_LAYOUT}")
            record = {"id": question.get("query_id"), "question": question.get("query_text"), "context": context}
            answers = question.get("answers")
            if isinstance(answers, list) and isinstance(context, str):
                answers = [
                    {"text": answer, "answer_start": context.find(answer) if isinstance(answer, str) else -1}
                    for answer in answers
                ]
            yield {**record, "answers": answers}


def _list(value: Any, key: str, name: str, where: str, layout: str = _LAYOUT) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise DataError(f"{name}: {where} has no list {key!r}; {layout}")
    return found


def _question(number: int, record: dict[str, Any], labelled: bool) -> Question:
    name = record.get("id", number)
    name = name if isinstance(name, str) else str(number) if name is None else json.dumps(name)

    def unusable(reason: str) -> Question:
        return Question(number, name, problem=reason)

    for key in ("question", "context"):
        value = record.get(key)
        if not isinstance(value, str):
            return unusable(f"{key!r} is missing" if value is None else f"{key!r} is not a text")
        if _SURROGATE.search(value):
            return unusable(f"the {key} is not Unicode (half of a surrogate pair)")
    answers: tuple[Answer, ...] | str = ()
    if labelled and record.get("is_impossible") is not True:
        answers = _answers(record.get("answers"))
    if isinstance(answers, str):
        return unusable(answers)
    blank = next((key for key in ("question", "context") if not record[key].strip()), None)
    problem = f"the {blank} is empty" if blank else ""
    return Question(number, name, record["question"], record["context"], answers, problem, bool(blank))


def _answers(value: Any) -> tuple[Answer, ...] | str:
    """The answers, or the reason why they are unusable."""
    if isinstance(value, dict):  # {"text": [...], "answer_start": [...]}, as some libraries write it
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            return "'answers' must be a list of objects with 'text' and 'answer_start'"
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(value, list):
        reason = "is missing" if value is None else "is not a list"
        return f"'answers' {reason} (give an empty list to a question without answer)"
    found = []
    for answer in value:
        text, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
            return "an answer needs a 'text' and a whole number as 'answer_start'"
        if not text.strip():
            return "an answer is empty (give an empty list to a question without answer)"
        found.append(Answer(text, start))
    return tuple(found)
