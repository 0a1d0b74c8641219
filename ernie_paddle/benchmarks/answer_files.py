"""The files of a submission: predictions for a test in the format of GLUE's server or SQuAD's script."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_paddle.benchmarks.benchmark import Benchmark
from reader.tables.questions import read_questions
from reader.tables.table import open_table

_SIMILARITY = (0.0, 5.0)
"""The lowest and the highest score of STS-B, which is GLUE's only regression."""


@dataclass(frozen=True)
class Answered:
    """A test with its predictions: rows of `ernie predict` by line of the table."""

    benchmark: Benchmark
    name: str
    table: Path
    answers: Path


def glue_file(test: Answered) -> tuple[str, str]:
    """GLUE: `NAME.tsv` with the columns index and prediction; a similarity is clipped to 0 to 5."""
    least, most = _SIMILARITY
    rows = []
    for number, answer in _rows(test):
        if test.benchmark.type == "regression":
            answer = str(min(max(float(answer), least), most))
        rows.append(f"{number}\t{answer}")
    return f"{test.name}.tsv", "\n".join(["index\tprediction", *rows]) + "\n"


def answers_file(test: Answered) -> tuple[str, str]:
    """SQuAD: `NAME.json`, an object from question to answer, which is empty if a question cannot be asked."""
    found: dict[str, str] = {}
    asked = read_questions(test.table, str(test.benchmark.options.get("format", "auto")), labelled=False)
    for question, row in zip(asked, read_answers(test), strict=True):
        # Of several questions with the same id, the first provides the answer.
        found.setdefault(question.id, row.get("prediction", ""))
    return f"{test.name}.json", json.dumps(found, ensure_ascii=False)


def unanswered(test: Answered) -> int:
    """The number of rows of a test that could not be predicted."""
    return sum("prediction" not in row for row in read_answers(test))


def _rows(test: Answered) -> list[tuple[Any, str]]:
    """(id, prediction) of every row of the table."""
    config = test.benchmark.test[test.name]
    rows = read_answers(test)
    commonest = commonest_answer(rows)
    ids = _ids(test.table, config.options, config.id)
    found = []
    for number, row in enumerate(rows):
        answer = str(row.get("prediction", commonest))
        found.append((ids.get(row["line"], number), test.benchmark.answers.get(answer, answer)))
    return found


def read_answers(test: Answered) -> list[Mapping[str, Any]]:
    """The rows of `ernie predict`, in the order of the table."""
    with open(test.answers, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def commonest_answer(rows: Sequence[Mapping[str, Any]]) -> str:
    """The most frequent prediction, of equally frequent ones the last by name; empty if no row has one."""
    given = Counter(str(row["prediction"]) for row in rows if "prediction" in row)
    return max(given, key=lambda answer: (given[answer], answer)) if given else ""


def _ids(table: Path, options: Mapping[str, Any], column: str | None) -> dict[int, Any]:
    """The ids of the rows, by line."""
    if column is None:
        return {}
    with open_table(table, str(options.get("format", "auto")), bool(options.get("header", True))) as opened:
        opened.require(column)
        return {row.line: row.cells[column] for row in opened.rows if column in row.cells}
