"""A fine-tuning run that is cut off continues to the same bits; two processes do what one does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie_paddle.cli.main import main
from ernie_paddle.models.config import ErnieConfig
from helpers.finetune_toy import CONFIG, write_pretrained, write_table
from helpers.paths import ROOT, environment

DEV_ROWS = 37
"""A prime number: no number of processes or rows per batch divides it."""


def command(folder: Path, output: Path, *more: str) -> list[str]:
    tables = ["--train", str(folder / "train.tsv"), "--dev", str(folder / "dev.tsv")]
    settings = ["--epochs", "3", "--batch_size", "8", "--lr", "5e-3", "--log_every", "1", "--eval_batch", "4"]
    start = ["finetune", "--model", str(folder / "start"), *tables, "--text_a", "a", "--text_b", "b"]
    return [*start, *settings, "--output", str(output), *more]


def make(folder: Path, dropout: float) -> Path:
    changed = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    write_pretrained(folder / "start", ErnieConfig(**{**CONFIG.to_dict(), **changed}))
    write_table(folder / "train.tsv", 73, 0, "first")
    write_table(folder / "dev.tsv", DEV_ROWS, 1, "first")
    return folder


def log(run: Path) -> list[dict[str, object]]:
    """The log without what depends on time."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "eta", "units_per_second")}
        for line in lines
    ]


def final_arrays(run: Path) -> dict[str, np.ndarray]:
    step = max(path for path in (run / "checkpoints").iterdir() if path.name.startswith("step-"))
    return load_file(step / "model.safetensors") | load_file(step / "training.safetensors")


def test_a_cut_off_run_continues_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from propeller.learner import Learner, StepResult

    make(tmp_path, dropout=0.1)
    assert main(command(tmp_path, tmp_path / "whole")) == 0
    plain_step, done = Learner.train_step, 0

    class CutError(Exception):
        pass

    def step_or_cut(self: Learner, *arguments: object) -> StepResult:
        nonlocal done
        done += 1
        # Step 9, right after a checkpoint; and, at the second attempt, step 16, four steps after one.
        if done in (9, 17):
            raise CutError
        return plain_step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "train_step", step_or_cut)
    cut = command(tmp_path, tmp_path / "cut", "--save_steps", "4")
    for _ in range(2):
        with pytest.raises(CutError):
            main(cut)
    assert main(cut) == 0
    assert done == 2 + 30 + 3  # steps 13 to 15 came after the last checkpoint and were done twice
    assert log(tmp_path / "cut") == log(tmp_path / "whole")
    whole, continued = final_arrays(tmp_path / "whole"), final_arrays(tmp_path / "cut")
    assert whole.keys() == continued.keys()
    for name in whole:
        assert np.array_equal(whole[name], continued[name]), name
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "cut")]
    assert results[0] == results[1]


def test_a_run_is_continued_with_its_own_micro_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They decide what dropout draws; those of more rows than a batch has are the batch."""
    make(tmp_path, dropout=0.1)
    run = tmp_path / "run"
    assert main(command(tmp_path, run, "--micro_batch", "8")) == 0
    before = final_arrays(run)
    assert main(command(tmp_path, run, "--micro_batch", "100")) == 0
    assert main(command(tmp_path, run, "--micro_batch", "3")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "holds a run with other settings (micro_batch was 8 and is 3)" in said
    assert main(command(tmp_path, tmp_path / "other", "--micro_batch", "3")) == 0
    other = final_arrays(tmp_path / "other")
    assert any(not np.allclose(before[name], other[name], atol=1e-4) for name in before)


def test_a_run_is_continued_with_its_own_tables_and_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The length decides how a table is encoded, but a table that is as it was is not said to have changed."""
    make(tmp_path, dropout=0.0)
    run, dev = tmp_path / "run", tmp_path / "dev.tsv"
    assert main(command(tmp_path, run, "--epochs", "1")) == 0
    (step,) = (run / "checkpoints").glob("step-*")
    recorded = json.loads((step / "run.json").read_text())
    # As older versions of the program wrote it: their runs are continued.
    assert set(recorded) == {"task", "model", "vocab", "initial", "config", "micro_batch", "train", "dev"}
    assert (recorded["train"], recorded["dev"]) == ("14bcaedf99581ca2", "dde972d355104aae")
    assert recorded["task"]["max_length"] == 32

    def refusal(*more: str) -> str:
        capsys.readouterr()
        assert main(command(tmp_path, run, "--epochs", "1", *more)) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "holds a run with other settings (" in said
        return said

    assert "(task.max_length was 32 and is 8);" in refusal("--max_length", "8")
    written = dev.read_text()
    dev.write_text(written.replace("yes", "Yes").replace("no", "yes").replace("Yes", "no"))
    assert "(the development table changed);" in refusal()
    assert "(the development table changed; config.lr was 0.005 and is 0.001);" in refusal("--lr", "1e-3")
    dev.write_text(written)
    (tmp_path / "train.tsv").write_text((tmp_path / "train.tsv").read_text() + "w1 w2\tw3\tno\n")
    assert "(the training table changed);" in refusal()
    write_table(tmp_path / "train.tsv", 73, 0, "first")
    assert main(command(tmp_path, run, "--epochs", "1")) == 0


def test_sigterm_saves_and_ends_with_0(tmp_path: Path) -> None:
    make(tmp_path, dropout=0.0)
    words = command(tmp_path, tmp_path / "run", "--epochs", "400")
    program = [sys.executable, "-m", "ernie_paddle.cli.main", *words]
    with subprocess.Popen(program, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("step 12/"):
                process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0, said
    assert "run the same command again to resume" in said
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert 12 <= steps[-1] < 4000
    assert (tmp_path / "run" / "checkpoints" / f"step-{steps[-1]:08d}").is_dir()


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    make(tmp_path, dropout=0.0)
    assert main(command(tmp_path, tmp_path / "one")) == 0
    words = command(tmp_path, tmp_path / "two")[1:]
    launch = [
        sys.executable,
        "-m",
        "propeller.tools.fleetrun",
        "--nproc_per_node",
        "2",
        "--log_dir",
        str(tmp_path / "logs"),
    ]
    done = subprocess.run(
        [*launch, str(ROOT / "finetune.py"), *words],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert len(one) == len(two) == 30 + 3
    for a, b in zip(one, two, strict=True):
        assert (a["kind"], a["step"]) == (b["kind"], b["step"])
        if a["kind"] == "step":
            # The last batch of an epoch has a single row, so one of two processes has none.
            assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)
        else:
            assert b["metrics"] == pytest.approx(a["metrics"], abs=1e-5)
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")]
    assert results[0]["rows"] == results[1]["rows"] == DEV_ROWS
    for name, array in final_arrays(tmp_path / "one").items():
        if "@" not in name:
            np.testing.assert_allclose(final_arrays(tmp_path / "two")[name], array, atol=2e-5, err_msg=name)


def test_a_run_that_ended_early_stays_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, dropout=0.0)
    # A rate too small to change any answer: the second evaluation is no better than the first.
    words = command(tmp_path, tmp_path / "run", "--lr", "1e-9", "--epochs", "6", "--patience", "2")
    for _ in range(2):
        assert main(words) == 0
        assert "accuracy has not improved for 2 evaluations" in capsys.readouterr().err
        results = json.loads((tmp_path / "run" / "results.json").read_text())
        assert (results["steps"], results["step"]) == (30, 10)
