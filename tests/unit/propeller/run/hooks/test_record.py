"""Hooks: what is written, what survives a resume, what stops a run."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.disk_order import DiskOrder
from propeller.errors import UserError
from propeller.run import hooks
from propeller.run.hooks import visualdl as visualdl_module
from propeller.run.plot import curves, plot, smooth


def step(number: int, **fields: object) -> hooks.StepRecord:
    values: dict[str, object] = {"step": number, "total_steps": 10, "task": "toy", "loss": 10.0 / number, **fields}
    return hooks.StepRecord(**values)  # type: ignore[arg-type]


def test_log_of_an_interrupted_run_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    def run(path: Path, first: int, last: int, resume_step: int) -> None:
        log = hooks.JsonlLog(path, resume_step=resume_step)
        for number in range(first, last + 1):
            log.on_step(step(number, losses={"a": math.pi * number}))
            if number % 3 == 0:
                log.on_eval(hooks.EvalRecord(number, "heldout", {"loss": number / 7}))

    run(tmp_path / "whole.jsonl", 1, 10, 0)
    run(tmp_path / "cut.jsonl", 1, 8, 0)
    with open(tmp_path / "cut.jsonl", "a") as stream:
        stream.write('{"kind": "step", "step": 9, "lo')  # killed in the middle of a line
    run(tmp_path / "cut.jsonl", 7, 10, resume_step=6)
    assert (tmp_path / "cut.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()
    run(tmp_path / "cut.jsonl", 1, 2, resume_step=0)  # begun again from nothing
    assert len((tmp_path / "cut.jsonl").read_text().splitlines()) == 2


def test_a_shortened_log_is_on_disk_before_it_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    log = hooks.JsonlLog(path)
    for number in range(1, 9):
        log.on_step(step(number))
    log.on_end()
    order = DiskOrder().watch(monkeypatch)
    hooks.JsonlLog(path, resume_step=5).on_end()
    assert len(path.read_text().splitlines()) == 5
    order.require_synced_before_renamed(path)


def test_log_writes_every_nth_the_last_and_the_bad_steps(tmp_path: Path) -> None:
    log = hooks.JsonlLog(tmp_path / "log.jsonl", every=4)
    for number in range(1, 11):
        log.on_step(step(number, finite=number != 6, loss=math.nan if number == 6 else 1.0))
    log.on_end()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 6, 8, 10]
    assert lines[1]["loss"] == "nan"


def test_progress_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = hooks.Progress(10, unit="tok", every=5, seconds=1e9, stream=stream)
    for number in range(1, 11):
        progress.on_step(
            step(
                number,
                losses={"mlm": 3.25, "sop": 0.5},
                metrics={"sop_accuracy": 0.75},
                lr=1e-4,
                units_per_second=12345.6,
                padding=0.034,
                eta=3725.0,
            )
        )
    progress.on_eval(hooks.EvalRecord(10, "heldout", {"loss": 2.5}))
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/10", "5/10", "10/10", "10"]
    assert lines[1] == (
        "step 5/10  toy  loss 2.0000 (mlm 3.250 sop 0.500)  sop_accuracy 0.750  lr 1.00e-04  12,346 tok/s  "
        "padding 3.4%  eta 1:02:05"
    )
    assert lines[3] == "step 10  evaluation heldout: loss 2.5"


def test_progress_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = hooks.Progress(10, unit="tok", initial=4, stream=stream)
    for number in range(5, 11):
        progress.on_step(step(number))
    progress.on_end()
    assert "10/10" in stream.getvalue()
    assert "\r" in stream.getvalue()


def test_rate_forgets_the_slow_start() -> None:
    rate = hooks.Rate(total_steps=100, window=4)
    assert rate.update(1, 100, 10.0) == (10.0, 990.0)
    for number in range(2, 6):
        per_second, eta = rate.update(number, 100, 0.5)
    assert per_second == pytest.approx(200.0)
    assert eta == pytest.approx(95 * 0.5)


def test_guard_names_the_samples_after_a_row_of_bad_steps() -> None:
    guard = hooks.NonFiniteGuard(limit=3)
    for number in (1, 2, 4, 5):
        guard.on_step(step(number, finite=False, samples=f"epoch 0 samples {number * 10}"))
        if number == 2:
            guard.on_step(step(3))
    resumed = hooks.NonFiniteGuard(limit=3)
    resumed.restore(json.loads(json.dumps(guard.state())))
    with pytest.raises(UserError) as caught:
        resumed.on_step(step(6, finite=False, samples="epoch 0 samples 60"))
    assert "3 steps in a row (steps 4 to 6)" in str(caught.value)
    assert "after step 3" in str(caught.value)
    for number in (40, 50, 60):
        assert f"samples {number}" in str(caught.value)
    assert "samples 20" not in str(caught.value)
    assert resumed.total == 5


@pytest.mark.parametrize("mode", ["min", "max"])
def test_early_stop(mode: str) -> None:
    sign = 1 if mode == "min" else -1
    values = [3.0, 2.0, math.nan, 2.0, 1.5, 1.6, 1.7, 1.49]
    stop = hooks.EarlyStop("loss", mode, patience=3, name="heldout")  # type: ignore[arg-type]
    improved, stopped = [], []
    for number, value in enumerate(values, 1):
        stop.on_eval(hooks.EvalRecord(number, "other", {}))  # of another name: not looked at
        stop.on_eval(hooks.EvalRecord(number, "heldout", {"loss": sign * value}))
        improved.append(stop.improved)
        stopped.append(stop.stop_reason is not None)
        again = hooks.EarlyStop("loss", mode, patience=3, name="heldout")  # type: ignore[arg-type]
        again.restore(json.loads(json.dumps(stop.state())))
        stop = again
    assert improved == [True, True, False, False, True, False, False, True]
    assert not any(stopped)
    for number in range(9, 12):
        stop.on_eval(hooks.EvalRecord(number, "heldout", {"loss": sign * 1.49}))
    said = f"stopped early: loss has not improved for 3 evaluations; the best was {sign * 1.49} at step 8"
    assert stop.stop_reason == said
    again = hooks.EarlyStop("loss", mode, patience=3, name="heldout")  # type: ignore[arg-type]
    again.restore(stop.state())  # a run that had stopped does not go on when it is started again
    assert again.stop_reason == said
    with pytest.raises(UserError, match="no metric 'loss'; it has accuracy"):
        stop.on_eval(hooks.EvalRecord(1, "heldout", {"accuracy": 1.0}))


def test_visualdl_scalars(tmp_path: Path) -> None:
    log = hooks.VisualDl(tmp_path, every=2)
    for number in range(1, 5):
        log.on_step(step(number, losses={"mlm": float(number)}))
    log.on_eval(hooks.EvalRecord(4, "heldout", {"loss": 0.25}))
    log.on_end()
    reader = pytest.importorskip("visualdl").LogReader(file_path=str(next(tmp_path.glob("vdlrecords*"))))
    assert [(point.id, point.value) for point in reader.get_data("scalar", "toy/mlm")] == [(2, 2.0), (4, 4.0)]
    assert [point.value for point in reader.get_data("scalar", "heldout/loss")] == [0.25]


def test_visualdl_absent_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "visualdl", None)
    monkeypatch.setattr(visualdl_module, "_said", False)
    for _ in range(2):
        log = hooks.VisualDl(tmp_path)
        log.on_step(step(10))
        log.on_end()
    assert capsys.readouterr().err.count("VisualDL") == 2  # one line, with the word twice
    assert list(tmp_path.iterdir()) == []


def test_signals_ask_for_a_stop() -> None:
    with hooks.StopSignals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        assert stop.exit_code == 0
    with hooks.StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        assert stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_curves_and_picture(tmp_path: Path) -> None:
    log = hooks.JsonlLog(tmp_path / "log.jsonl")
    for number in range(1, 11):
        log.on_step(step(number, losses={"mlm": float(number)}, loss=math.inf if number == 3 else 1.0))
    log.on_eval(hooks.EvalRecord(5, "heldout", {"loss": 4.5, "accuracy": 0.5}))
    log.on_end()
    steps, evaluations = curves(tmp_path / "log.jsonl")
    assert [point[0] for point in steps["loss"]] == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert steps["mlm"] == [(n, float(n)) for n in range(1, 11)]
    assert evaluations == {"heldout loss": [(5, 4.5)]}
    assert smooth([(1, 2.0), (2, 4.0), (3, 9.0)], 2) == [(1, 2.0), (2, 3.0), (3, 6.5)]
    png = plot({"run": tmp_path / "log.jsonl"}, tmp_path / "deep" / "curves.png", title="toy")
    from matplotlib.image import imread

    picture = imread(png)
    assert picture.shape == (600, 960, 4)
    assert len({tuple(pixel) for pixel in (picture[::7, ::7, :3] * 255).astype(int).reshape(-1, 3)}) > 10


def test_importing_propeller_imports_no_paddle() -> None:
    names = ("run.hooks", "run.checkpoint", "tools.doctor", "tools.fleetrun", "graph.inputs", "graph.losses")
    code = f"import sys, {', '.join(f'propeller.{name}' for name in names)};"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('paddle' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
