"""`ernie tables` on Python's own manual, at the smallest size: interrupted, continued, read back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.cli import exit_code
from helpers.paths import ROOT, environment

SIZE = """
arch: tiny
vocab_size: 800
set:
  - arch.vocab_size=null
  - arch.max_position_embeddings=32
  - train=tables_tiny
  - train.batch_tokens=128
  - train.micro_batch_tokens=128
  - train.eval_batches=1
  - train.checkpoint_every=4
  - train.log_every=1
  - data.max_length=32
steps: {ernie2: 24}
finetune: {epochs: 1, batch_size: 16, lr: 5.0e-4, max_length: 32, rows: 20}
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "size.yaml").write_text(SIZE)
    given = ["ernie2", "--size", str(folder / "size.yaml"), "--seeds", "1", "--output", str(folder / "out"), *words]
    return subprocess.Popen(
        [sys.executable, "-m", "ernie_paddle.cli.main", "tables", *given],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_table_is_interrupted_and_continued(tmp_path: Path) -> None:
    rows = ("--rows", "random,multi_task")
    run = tmp_path / "out" / "runs" / "multi_task" / "seed-0"
    log = run / "pre-training" / "log.jsonl"
    process = start(tmp_path, *rows)
    end = time.monotonic() + 200
    while not (log.is_file() and len(log.read_text().splitlines()) > 5):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted; run the same command again to resume"
    assert "[1/3] random, seed 0, topics: accuracy" in said
    assert not (run / "pre-training" / "result.json").exists()
    assert "Not finished: 2 runs" in (tmp_path / "out" / "tables.md").read_text()
    before = (tmp_path / "out" / "runs" / "random" / "seed-0" / "topics" / "result.json").stat().st_mtime_ns

    process = start(tmp_path, *rows)
    printed, said = process.communicate(timeout=280)
    assert process.returncode == 0, said
    assert "1 of 3 runs are already done" in said
    assert "resuming after step" in (run / "log.txt").read_text()
    assert (tmp_path / "out" / "runs" / "random" / "seed-0" / "topics" / "result.json").stat().st_mtime_ns == before

    # What the table says is what the runs' own logs and reports say.
    result = json.loads((run / "pre-training" / "result.json").read_text())
    assert [sum(stage.values()) for stage in result["stages"]] == [24]
    evaluations = [json.loads(line) for line in log.read_text().splitlines() if '"eval"' in line]
    last = {line["name"]: line["metrics"] for line in evaluations if line["step"] == 24}
    text = (tmp_path / "out" / "tables.md").read_text()
    assert text in printed
    heldout = next(line for line in text.splitlines() if line.startswith("| multi-task learning"))
    assert f"{last['knowledge_masking']['loss']:.3f}" in heldout
    assert f"{last['capitalization']['loss']:.3f}" in heldout
    report = json.loads((run / "topics" / "results.json").read_text())
    tuned = next(line for line in text.split("## Fine-tuning")[1].splitlines() if line.startswith("| multi-task"))
    assert f"{100 * report['best']['accuracy']:.1f}" in tuned
    assert not (run / "topics" / "checkpoints").exists()
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ernie3"], "unknown table 'ernie3'; did you mean 'ernie2'?"),
        (["ernie2", "--rows", "cmlt"], "unknown row 'cmlt'; did you mean 'cmtl'?"),
        (["ernie2", "--tasks", "CoLA"], "--tasks needs --glue"),
        (["ernie2", "--glue", "nowhere"], "--glue nowhere: no such folder"),
        (["ernie2", "--seed", "3"], "there is no option --seed; did you mean --seeds?"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(["tables", *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert message in said[0]
    assert not os.listdir(tmp_path)
