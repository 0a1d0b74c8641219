"""Predictions in the format of SuperGLUE's server: a line for each row, passage (MultiRC) or query (ReCoRD)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ernie_paddle.benchmarks.answer_files import Answered, commonest_answer, read_answers
from reader.tables.table import open_table

Pair = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The cells of a row, and its prediction from `ernie predict`."""


def superglue_file(test: Answered) -> tuple[str, str]:
    """The name of the file, `NAME.jsonl`, and its lines.

    A row without a prediction gets the most frequent one, unless its line could not be read at all, because the
    questions in it are then unknown.
    """
    form = str(test.benchmark.test[test.name].options.get("format", "auto"))
    lines = _WRITERS.get(form, _rows)(_answered(test, form), test)
    return f"{test.name}.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _answered(test: Answered, form: str) -> list[Pair]:
    """All non-empty rows of the table, with their predictions."""
    answers = read_answers(test)
    commonest = commonest_answer(answers)
    with open_table(test.table, form) as table:
        return [
            (row.cells, {"prediction": commonest, **answer})
            for row, answer in zip(table.rows, answers, strict=True)
            if not row.problem
        ]


def _rows(pairs: Iterable[Pair], test: Answered) -> Iterator[dict[str, Any]]:
    """A label for each row."""
    column = test.benchmark.test[test.name].id or "idx"
    for number, (cells, answer) in enumerate(pairs):
        yield {"idx": cells.get(column, number), "label": _label(answer, test)}


def _passages(pairs: Iterable[Pair], test: Answered) -> Iterator[dict[str, Any]]:
    """MultiRC: the table's own nesting of passages, questions and answers."""
    passages: dict[Any, dict[Any, list[dict[str, Any]]]] = {}
    for cells, answer in pairs:
        questions = passages.setdefault(cells["passage_idx"], {})
        answers = questions.setdefault(cells["question_idx"], [])
        answers.append({"idx": cells["answer_idx"], "label": _label(answer, test)})
    for passage, questions in passages.items():
        asked = [{"idx": question, "answers": answers} for question, answers in questions.items()]
        yield {"idx": passage, "passage": {"questions": asked}}


def _queries(pairs: Iterable[Pair], test: Answered) -> Iterator[dict[str, Any]]:
    """ReCoRD: the most probable candidate."""
    best: dict[tuple[Any, Any], tuple[float, str]] = {}
    for cells, answer in pairs:
        query = cells["passage_idx"], cells["query_idx"]
        right = float(answer.get("p(1)", 0.0))
        if query not in best or right > best[query][0]:
            best[query] = right, cells["candidate"]
    for (_, query_idx), (_, candidate) in best.items():
        yield {"idx": query_idx, "label": candidate}


_WRITERS: dict[str, Callable[[Iterable[Pair], Answered], Iterator[dict[str, Any]]]] = {
    "multirc": _passages,
    "record": _queries,
}


def _label(answer: Mapping[str, Any], test: Answered) -> str | int:
    """The label under its name on the server; numbers as numbers."""
    label = str(answer["prediction"])
    label = test.benchmark.answers.get(label, label)
    return int(label) if label.isdecimal() else label
