"""The loop of a run with a learner that only counts: locks, marks, failing evaluations, damage, versions, times."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from propeller.errors import UserError
from propeller.results import StepResult
from propeller.run import checkpoint, run_folder
from propeller.run.hooks import EarlyStop
from propeller.run.trainer import Outcome, StepInput, Trainer, TrainerOptions

TOTAL = 6
LOSSES = {2: 3.0, 4: 1.0, 6: 2.0}


class Counter:
    """What the Trainer needs of a Learner; its one parameter is the number of steps."""

    def __init__(self) -> None:
        self.step = self.skipped = 0

    def train_step(self, task: str, micro_batches: object, lr: float) -> StepResult:
        self.step += 1
        return StepResult(self.step, 1 / self.step, {}, {}, {}, 1.0, True, loss_scale=1.0)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {"w": np.array([self.step], np.float32), "w@moment1": np.zeros(1, np.float32)}, {"step": self.step}

    def restore(self, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        self.step = meta["step"]
        assert tensors["w"].tolist() == [self.step]


def trainer(folder: Path) -> Trainer:
    return Trainer(
        learner=Counter(),  # type: ignore[arg-type]
        folder=folder,
        total_steps=TOTAL,
        identity={"seed": 0},
        documents={},
        files=lambda: contextlib.nullcontext({}),
        options=TrainerOptions(eval_every=2, keep_last=1, log_every=1),
        watch=EarlyStop("loss", "min"),
    )


def run(made: Trainer, evaluate: Callable[[], Any] | None = None, wait: float = 0.0) -> Outcome:
    def inputs() -> Iterator[StepInput]:
        while True:
            time.sleep(wait)
            yield StepInput("toy", [], 0.1, units=10, slots=20, samples="")

    made.resume()
    return made.run(inputs(), evaluate or (lambda: [("dev", {"loss": LOSSES[made.learner.step]})]))


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "eta", "units_per_second")} for line in lines]


def test_a_folder_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom propeller.run.run_folder import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]))\nlock.acquire()\nprint('held', flush=True)\ntime.sleep(60)"
    )
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "held\n"
            for begin in (trainer(folder).resume, lambda: run(trainer(folder)), lambda: run_folder.discard(folder)):
                with pytest.raises(UserError, match=rf"is in use by another process \(pid {other.pid}\)"):
                    begin()
            assert [path.name for path in folder.iterdir()] == [".lock"]
        finally:
            other.kill()
    assert run(trainer(folder)).step == TOTAL  # a killed process holds nothing
    held = trainer(folder)
    held.resume()
    with pytest.raises(UserError, match=rf"\(pid {os.getpid()}\)"):
        run(trainer(folder))
    run(held)
    run(trainer(folder))


def test_every_stage_ends_with_an_evaluation(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    made.options = TrainerOptions(eval_every=4, stage_ends=(3, 5, TOTAL), log_every=10)
    run(made, lambda: [("dev", {"loss": 1.0})])
    evaluations = [line for line in log(tmp_path) if line["kind"] == "eval"]
    assert [(line["step"], line["stage"]) for line in evaluations] == [(3, 1), (4, 2), (5, 2), (6, 3)]


def test_a_failed_run_and_a_refused_resume_release_the_folder(tmp_path: Path) -> None:
    kept = []  # so that nothing is released by being collected
    for _ in range(2):
        kept.append(trainer(tmp_path))
        with pytest.raises(ZeroDivisionError):
            run(kept[-1], lambda: 1 / 0)
    kept.append(trainer(tmp_path))
    kept[-1].identity = {"seed": 1}
    with pytest.raises(UserError, match="seed was 0 and is 1"):
        kept[-1].resume()
    assert run(trainer(tmp_path)).step == TOTAL


def test_a_kill_before_the_mark_of_the_best_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = checkpoint.mark_best

    def killed(root: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        if step == 4:
            raise KeyboardInterrupt
        mark(root, step, facts)

    monkeypatch.setattr(checkpoint, "mark_best", killed)
    with pytest.raises(KeyboardInterrupt):
        run(trainer(tmp_path))
    found = checkpoint.best(tmp_path / "checkpoints")
    assert found is not None
    assert found[0].name == "step-00000002"
    monkeypatch.undo()
    outcome = run(trainer(tmp_path))
    assert outcome.best.name == "step-00000004"
    assert checkpoint.steps(tmp_path / "checkpoints") == [4, 6]
    found = checkpoint.best(tmp_path / "checkpoints")
    assert found is not None
    assert found[1] == {"step": 4, "metric": "loss", "value": 1.0}


@pytest.mark.parametrize("failing", [4, TOTAL])
@pytest.mark.parametrize("kind", ["raises", "lacks the metric"])
def test_an_evaluation_that_fails_loses_no_step(tmp_path: Path, failing: int, kind: str) -> None:
    run(trainer(tmp_path / "whole"))
    failed = trainer(tmp_path / "failed")

    def evaluate() -> Any:
        step = failed.learner.step
        if step < failing:
            return [("dev", {"loss": LOSSES[step]})]
        if kind == "raises":
            raise UserError("no metric today")
        return [("dev", {"accuracy": 1.0})]

    with pytest.raises(UserError, match="no metric"):
        run(failed, evaluate)
    assert checkpoint.steps(tmp_path / "failed" / "checkpoints")[-1] == failing
    again = trainer(tmp_path / "failed")
    again.resume()
    assert again.learner.step == failing
    outcome = run(again)
    assert log(tmp_path / "failed") == log(tmp_path / "whole")
    assert outcome.best.name == "step-00000004"
    assert [record.step for record in outcome.evaluations] == [2, 4, 6]
    # The checkpoint that was saved without the evaluation was replaced by one that has it.
    last = checkpoint.read(outcome.checkpoint).document("state.json")
    assert [record["step"] for record in last["evaluations"]] == [2, 4, 6]
    run(trainer(tmp_path / "failed"), lambda: 1 / 0)  # a finished run is not evaluated again


def test_a_run_whose_checkpoints_are_all_damaged_is_not_overwritten(tmp_path: Path) -> None:
    run(trainer(tmp_path))
    before = log(tmp_path)
    for step in checkpoint.steps(tmp_path / "checkpoints"):
        (checkpoint.step_path(tmp_path / "checkpoints", step) / "state.json").write_text("{}")
    with pytest.raises(UserError, match=r"step-00000006/state\.json: .*; starting anew would overwrite that run: move"):
        run(trainer(tmp_path))
    assert log(tmp_path) == before


def test_other_versions_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    run(trainer(tmp_path))
    capsys.readouterr()
    run(trainer(tmp_path))
    assert "warning" not in capsys.readouterr().err
    now = np.__version__
    monkeypatch.setattr("propeller.run.trainer.versions", lambda: {"numpy": "0.9", "paddle": "0.8"})
    run(trainer(tmp_path))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(said) == 1
    assert f"numpy was {now} and is 0.9; paddle was " in said[0]


def test_waiting_for_data_counts(tmp_path: Path) -> None:
    run(trainer(tmp_path), wait=0.05)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert len(steps) == TOTAL
    assert all(line["seconds"] >= 0.05 and 0 < line["units_per_second"] <= 10 / 0.05 for line in steps)


def test_discard_removes_what_a_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    run(trainer(tmp_path))
    root = tmp_path / "checkpoints"
    (root / ".tmp-step-00000009-77").mkdir()
    (tmp_path / "vdl").mkdir(exist_ok=True)
    (tmp_path / "vdl" / "vdlrecords.1.log").write_text("x")
    run_folder.discard(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    run(trainer(tmp_path))
    foreign = [root / "step-00000001", root / "notes", tmp_path / "vdl", tmp_path / "mine"]
    for folder in foreign:
        folder.mkdir(exist_ok=True)
        (folder / "notes.txt").write_text("x")
    run_folder.discard(tmp_path)
    left = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock")
    assert left == sorted(folder / "notes.txt" for folder in foreign)
    run_folder.discard(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
