"""Answers as the evaluation servers want them: one file per test, in a zip."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.benchmarks.plan import Run, SuitePlan
from ernie_paddle.benchmarks.suite import Suite
from ernie_paddle.benchmarks.superglue import superglue_file
from ernie_paddle.jobs.job import Result
from reader.errors import DataError
from reader.questions import read_questions
from reader.table import open_table


@dataclass(frozen=True)
class Answered:
    """A test with its answers: rows of `ernie predict` by line of the table."""

    benchmark: Benchmark
    name: str
    table: Path
    answers: Path


_SIMILARITY = (0.0, 5.0)
"""The least and the greatest score of STS-B, which is GLUE's only regression."""

Writer = Callable[[Answered], tuple[str, str]]
"""A test -> the name of its file in the zip, and the content."""


def glue_file(test: Answered) -> tuple[str, str]:
    """GLUE: `NAME.tsv` with the columns index and prediction; a similarity is put between 0 and 5."""
    least, most = _SIMILARITY
    rows = []
    for number, answer in _rows(test):
        if test.benchmark.type == "regression":
            answer = str(min(max(float(answer), least), most))
        rows.append(f"{number}\t{answer}")
    return f"{test.name}.tsv", "\n".join(["index\tprediction", *rows]) + "\n"


def answers_file(test: Answered) -> tuple[str, str]:
    """SQuAD: `NAME.json`, an object from question to answer, which is empty where a question cannot be asked."""
    found: dict[str, str] = {}
    asked = read_questions(test.table, str(test.benchmark.options.get("format", "auto")), labelled=False)
    for question, row in zip(asked, _answers(test), strict=True):
        # The first of those with one id has the answer.
        found.setdefault(question.id, row.get("prediction", ""))
    return f"{test.name}.json", json.dumps(found, ensure_ascii=False)


WRITERS: dict[str, Writer] = {"glue": glue_file, "answers": answers_file, "superglue": superglue_file}
"""Formats of submissions, by the name in configs/benchmarks."""


def submit(suite: Suite, plan: SuitePlan, results: Mapping[Run, Result], path: Path) -> None:
    """Write the submission of all tests that are answered, and say which are not: no table, no answers, or no use.

    Args:
        suite: one that has a submission.
        plan: of all tasks whose answers are wanted.
        results: of finished runs.
        path: of the zip.
    """
    assert suite.submission is not None
    answered: list[Answered] = []
    missing, failed = [], []
    for task in suite.benchmarks.values():
        run = Run(task.name)
        for name, table in task.tests(plan.data_dir).items():
            if table is None:
                missing.append(name)
            elif run not in results:
                failed.append(name)
            else:
                answered.append(Answered(task, name, table, plan.folder(run) / f"{name}.jsonl"))
    unusable = write_submission(path, suite.submission, answered)
    for name, reason in unusable.items():
        print(f"{name}: not in the submission: {reason}", file=sys.stderr)
    written = [test for test in answered if test.name not in unusable]
    instead = "an empty answer" if suite.submission == "answers" else "the commonest answer"
    for test in written:
        rows = unanswered(test)
        if rows:
            print(
                f"{test.name}: {rows} rows of {test.table} cannot be used; they get {instead}",
                file=sys.stderr,
            )
    absent = {"missing": missing, "not answered (failed, or not asked for)": failed, "unusable": list(unusable)}
    gaps = "".join(f"; {why}: {', '.join(names)}" for why, names in absent.items() if names)
    if written:
        print(f"submission: {path}, {len(written)} of {len(answered) + len(missing) + len(failed)} files{gaps}")
    else:
        print(f"no submission: no test is answered{gaps}", file=sys.stderr)


def write_submission(path: Path, style: str, tests: Sequence[Answered]) -> dict[str, str]:
    """Write the zip (the same bytes for the same answers), unless no test has a file.

    Returns:
        by name, why tests have no file, for their tables cannot be read.
    """
    files, unusable = {}, {}
    for test in tests:
        try:
            name, content = WRITERS[style](test)
            files[name] = content.encode("utf-8")
        except (DataError, OSError) as error:
            unusable[test.name] = str(error)
    if files:
        aside = path.with_name(f".tmp-{path.name}")
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, packed in files.items():
                archive.writestr(zipfile.ZipInfo(name), packed, zipfile.ZIP_DEFLATED)
        aside.replace(path)
    return unusable


def unanswered(test: Answered) -> int:
    """How many rows of a test could not be answered."""
    return sum("prediction" not in row for row in _answers(test))


def _rows(test: Answered) -> list[tuple[Any, str]]:
    """(id, answer) of every row of the table."""
    config = test.benchmark.test[test.name]
    rows = _answers(test)
    given = [str(row["prediction"]) for row in rows if "prediction" in row]
    commonest = max(set(given), key=lambda answer: (given.count(answer), answer)) if given else ""
    ids = _ids(test.table, config.options, config.id)
    found = []
    for number, row in enumerate(rows):
        answer = str(row.get("prediction", commonest))
        found.append((ids.get(row["line"], number), test.benchmark.answers.get(answer, answer)))
    return found


def _answers(test: Answered) -> list[Mapping[str, Any]]:
    with open(test.answers, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _ids(table: Path, options: Mapping[str, Any], column: str | None) -> dict[int, Any]:
    """The ids of the rows, by line."""
    if column is None:
        return {}
    with open_table(table, str(options.get("format", "auto")), bool(options.get("header", True))) as opened:
        opened.require(column)
        return {row.line: row.cells[column] for row in opened.rows if column in row.cells}
