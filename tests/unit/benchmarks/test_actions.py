"""Which of a task's runs answers its tests, and which keep their checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ernie_paddle.benchmarks import actions
from ernie_paddle.benchmarks.plan import SuitePlan, SuiteRun, TaskPlan, answer_paths
from ernie_paddle.benchmarks.starting import StartingPoint
from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.finetune.run import FinetuneOutcome, Prediction
from propeller.errors import UserError

LIKE = {"start": "sha256:0", "task": {"type": "classification"}, "data": {"train": "a"}}


def finished(folder: Path, score: float, checkpoint: bool = True, **settings: Any) -> Path:
    folder.mkdir(parents=True)
    found = {"settings": {**LIKE, "options": {"lr": 1e-3}, **settings}, "best": {"mcc": score}}
    (folder / "result.json").write_text(json.dumps(found))
    if checkpoint:
        (folder / "checkpoints").mkdir()
    return folder


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a task; every model gives one answer."""

    def predict(model: Path, table: str) -> Prediction:
        return Prediction(["line", "prediction"], "line", iter([[{"line": 2, "prediction": "1"}]]), [])

    monkeypatch.setattr(actions.run, "predict", predict)
    return tmp_path / "CoLA"


def test_runs_of_earlier_commands_may_answer(task: Path) -> None:
    finished(task / "variant-0" / "seed-0", 0.5, checkpoint=False)
    # Of a command with more seeds, and of one with another value: what is asked for now has fewer.
    finished(task / "variant-0" / "seed-4", 0.8)
    best = finished(task / "variant-1" / "seed-0", 0.9, options={"lr": 3e-4})
    finished(task / "variant-0" / "seed-1", 0.99, data={"train": "b"})
    (task / "variant-0" / "seed-2" / "checkpoints").mkdir(parents=True)
    tests = {"CoLA": {"path": "test.tsv", "options": {}}}
    assert actions.answer(task / "answers", LIKE, "mcc", tests) == {"model": str(best), "rows": {"CoLA": 1}}
    with pytest.raises(UserError, match="no run of this task came to its end"):
        actions.answer(task / "answers", {**LIKE, "start": "sha256:1"}, "mcc", tests)


@pytest.mark.parametrize(("score", "kept"), [(0.7, "seed-0"), (0.9, "seed-1")])
def test_the_best_keeps_its_checkpoint(score: float, kept: str, task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(task / "variant-0" / "seed-0", 0.8)
    finished(task / "variant-0" / "seed-3", 0.1, data={"train": "b"})
    run = task / "variant-0" / "seed-1"

    def finetune(**options: str) -> FinetuneOutcome:
        (run / "checkpoints").mkdir(parents=True)
        (run / "results.json").write_text(json.dumps({"best": {"mcc": score}, "baseline": {}}))
        return FinetuneOutcome(0, True, 1)

    monkeypatch.setattr(actions.run, "finetune", finetune)
    assert actions.finetune(run, {}, {}, "mcc", LIKE) is not None
    with_checkpoint = {path.parent.name for path in task.glob("*/*/checkpoints")}
    assert with_checkpoint == {kept, "seed-3"}, "a run on other data is no rival"


def test_where_the_answers_are(tmp_path: Path) -> None:
    swag = load_suite("swag").benchmarks["SWAG"]
    start = StartingPoint({}, "sha256:0", "base", "a model", False)
    plan = SuitePlan([TaskPlan(swag, "bert", [{}], [0])], tmp_path / "data", tmp_path / "out", start)
    assert answer_paths(plan, {SuiteRun("SWAG", 0, 0): {}}) == []
    (path,) = answer_paths(plan, {SuiteRun("SWAG"): {"model": "a run", "rows": {"SWAG": 3}}})
    assert path == tmp_path / "out" / "runs" / "SWAG" / "answers" / "SWAG.jsonl"
