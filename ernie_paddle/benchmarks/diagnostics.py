"""Diagnostic sets: additional tests, which are scored if they have labels, such as AX-b and AX-g."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ernie_paddle.benchmarks.answer_files import Answered, read_answers
from ernie_paddle.benchmarks.plan import SuitePlan, SuiteRun
from ernie_paddle.benchmarks.suite import Suite
from ernie_paddle.finetune.metrics.table_metrics import classification_metrics
from ernie_paddle.jobs.job import Result
from reader.errors import DataError
from reader.tables.table import open_table

GENDER_PARITY = "gender_parity"


@dataclass(frozen=True)
class Diagnosed:
    """A diagnostic set with predictions.

    Attributes:
        name: Name of the set.
        task: Task whose model made the predictions.
        rows: Number of scored rows, which have a label and a prediction.
        left_out: Number of other rows.
        scores: Fractions of 1 by metric, for the metrics of the suite; empty if no row has a label.
    """

    name: str
    task: str
    rows: int
    left_out: int
    scores: Mapping[str, float]


def diagnosed(suite: Suite, plan: SuitePlan, results: Mapping[SuiteRun, Result]) -> list[Diagnosed]:
    """All diagnostic sets with predictions, except for unreadable tables, which the submission reports."""
    found = []
    for benchmark in suite.benchmarks.values():
        run = SuiteRun(benchmark.name)
        for name, table in benchmark.tests(plan.data_dir).items():
            if not benchmark.test[name].scores or table is None or run not in results:
                continue
            with contextlib.suppress(DataError, OSError):
                found.append(_score(Answered(benchmark, name, table, plan.folder(run) / f"{name}.jsonl")))
    return found


def _score(test: Answered) -> Diagnosed:
    table = test.benchmark.test[test.name]
    labels: list[str] = [str(label) for label in test.benchmark.options["labels"]]
    column = str(test.benchmark.options["label"])
    with open_table(test.table, str(table.options.get("format", "auto"))) as opened:
        given = {row.line: str(row.cells.get(column)) for row in opened.rows}
    answers = read_answers(test)
    truth = [given.get(answer["line"]) for answer in answers]
    # Class numbers, -1 for a row without a label or prediction.
    right = np.array([labels.index(label) if label in labels else -1 for label in truth], np.int64)
    found = np.array([labels.index(row["prediction"]) if "prediction" in row else -1 for row in answers], np.int64)
    both = (right >= 0) & (found >= 0)
    scores = {}
    if both.any():
        scores = {**classification_metrics(right[both], found[both], len(labels)), GENDER_PARITY: gender_parity(found)}
    shown = {name: scores[name] for name in table.scores if name in scores}
    return Diagnosed(test.name, test.benchmark.name, int(both.sum()), int((~both).sum()), shown)


def gender_parity(answers: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    """Share of pairs with equal predictions (Winogender, Rudinger et al. 2018; SuperGLUE 3.3).

    Args:
        answers: Predictions of the rows in the order of the table, where two neighbours are a pair: one sentence with a
            pronoun of either gender. A pair with a row without a prediction (-1) is skipped.
    """
    pairs = np.asarray(answers)[: len(answers) // 2 * 2].reshape(-1, 2)
    pairs = pairs[(pairs >= 0).all(axis=1)]
    return float((pairs[:, 0] == pairs[:, 1]).mean()) if len(pairs) else 0.0
