"""Diagnostic sets are scored with the answers of the submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import matthews_corrcoef

from ernie_paddle.benchmarks.diagnostics import diagnosed, gender_parity
from ernie_paddle.benchmarks.plan import SuitePlan, SuiteRun, TaskPlan
from ernie_paddle.benchmarks.report import markdown
from ernie_paddle.benchmarks.starting import StartingPoint
from ernie_paddle.benchmarks.suite import load_suite

SUITE = load_suite("superglue")
YES, NO = "entailment", "not_entailment"
START = StartingPoint({}, "sha256:0", "base", "a model", False)


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def plan(tmp_path: Path) -> SuitePlan:
    """A finished RTE: AX-b has six rows, one without label and one without answer; AX-g two pairs and a row alone."""
    task = TaskPlan(SUITE.benchmarks["RTE"], "ours", [{}], [0])
    made = SuitePlan([task], tmp_path / "data", tmp_path / "out", START)
    # The sets lie beside the folder of RTE.
    (made.data_dir / "RTE").mkdir(parents=True)
    sentences = {"sentence1": "The cat sat.", "sentence2": "A cat sat."}
    labels = [YES, NO, NO, YES, None, YES]
    rows = [{**sentences, "idx": idx, **({"label": label} if label else {})} for idx, label in enumerate(labels)]
    write(made.data_dir / "AX-b" / "AX-b.jsonl", rows)
    given = [YES, NO, YES, YES, NO, None]
    answers = [{"line": line, **({"prediction": answer} if answer else {})} for line, answer in enumerate(given, 1)]
    write(made.folder(SuiteRun("RTE")) / "AX-b.jsonl", answers)
    pair = {"premise": "The nurse said that she left.", "hypothesis": "The nurse left."}
    write(made.data_dir / "AX-g" / "AX-g.jsonl", [{**pair, "idx": idx, "label": YES} for idx in range(5)])
    answers = [{"line": line, "prediction": answer} for line, answer in enumerate([YES, YES, YES, NO, YES], 1)]
    write(made.folder(SuiteRun("RTE")) / "AX-g.jsonl", answers)
    return made


def test_rows_with_label_and_answer_are_scored(plan: SuitePlan) -> None:
    broad, gender = diagnosed(SUITE, plan, {SuiteRun("RTE"): {}})
    assert (broad.name, broad.task, broad.rows, broad.left_out) == ("AX-b", "RTE", 4, 2)
    assert broad.scores == {"mcc": pytest.approx(matthews_corrcoef([1, 0, 0, 1], [1, 0, 1, 1]))}
    assert (gender.name, gender.rows, gender.left_out) == ("AX-g", 5, 0)
    assert list(gender.scores.items()) == [("gender_parity", 0.5), ("accuracy", 0.8)]


def test_the_report_shows_them(plan: SuitePlan) -> None:
    run = {"best": {"accuracy": 0.6}, "baseline": {"accuracy": 0.5}, "rows": 277, "seconds": 60.0}
    results = {SuiteRun("RTE", 0, 0): run, SuiteRun("RTE"): {}}
    said: dict[str, Any] = {"started": "a model", "size": "base", "made_by": "this"}
    found = diagnosed(SUITE, plan, results)
    text = markdown(SUITE, plan, results, {}, **said, left_out=[], unfinished=0, diagnoses=found)
    assert "| AX-b | the best run of RTE | 4 | 2 | MCC 57.7 | – |" in text
    assert "| AX-g | the best run of RTE | 5 | – | gender parity 50.0, acc. 80.0 | – |" in text
    assert "Diagnostic" not in markdown(SUITE, plan, results, {}, **said, left_out=[], unfinished=0)


def test_published_figures_stand_beside_sets_whose_labels_others_have(tmp_path: Path) -> None:
    suite = load_suite("glue")
    made = SuitePlan([TaskPlan(suite.benchmarks["MNLI"], "ernie2", [{}], [0])], tmp_path / "data", tmp_path, START)
    table = made.data_dir / "MNLI" / "AX.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("index\tsentence1\tsentence2\n0\tThe cat sat.\tA cat sat.\n")
    write(made.folder(SuiteRun("MNLI")) / "AX.jsonl", [{"line": 2, "prediction": "neutral"}])
    run = {"best": {"accuracy": 0.6}, "baseline": {"accuracy": 0.4}, "rows": 9, "seconds": 60.0}
    results = {SuiteRun("MNLI", 0, 0): run, SuiteRun("MNLI"): {}}
    found = diagnosed(suite, made, results)
    said: dict[str, Any] = {"started": "a model", "size": "base", "made_by": "this"}
    text = markdown(suite, made, results, {}, **said, left_out=[], unfinished=0, diagnoses=found)
    row = "| AX | the best run of MNLI | – | – | no labels here | ERNIE 2.0 base, test: MCC 37.4 |"
    assert row in text


def test_what_cannot_be_read_is_not_shown(plan: SuitePlan) -> None:
    assert diagnosed(SUITE, plan, {}) == []
    table = plan.data_dir / "AX-b" / "AX-b.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    write(table, [{name: cell for name, cell in row.items() if name != "label"} for row in rows])
    (plan.data_dir / "AX-g" / "AX-g.jsonl").write_bytes(b"\xff\xfe\x00")
    (unlabelled,) = diagnosed(SUITE, plan, {SuiteRun("RTE"): {}})
    assert (unlabelled.name, unlabelled.rows, unlabelled.scores) == ("AX-b", 0, {})


def test_gender_parity_is_of_neighbours() -> None:
    assert gender_parity([0, 0, 1, 1, 0, 1, 1, 0]) == 0.5
    # A pair with a row that is not answered tells nothing, nor does a row without its neighbour.
    assert gender_parity([0, 0, -1, 1, 1]) == 1.0
    assert gender_parity([1]) == 0.0
