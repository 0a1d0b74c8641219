"""A run that is killed and started again ends as one that was never disturbed: the same losses and parameters."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.paths import environment
from helpers.pretrain_runs import STEPS, arguments, ernie, log
from propeller.run import checkpoint

# Ends the process as kill -9 does, at the third file that is forced to disk in the given save.
KILL_IN_SAVE = """
import os, signal, sys
from propeller.run import checkpoint
saves, files, sync = 0, 0, checkpoint._sync
def counted(path):
    global files
    files += 1
    if saves == 2 and files == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(path)
save = checkpoint.save
def counted_save(*arguments, **keywords):
    global saves, files
    saves, files = saves + 1, 0
    return save(*arguments, **keywords)
checkpoint._sync, checkpoint.save = counted, counted_save
from ernie_paddle.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def parameters(folder: Path) -> str:
    path, warnings = checkpoint.latest_valid(folder / "checkpoints")
    assert path is not None
    assert not warnings
    assert path.name == f"step-{STEPS:08d}"
    return hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(manual_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    result = ernie(*arguments(manual_corpus, folder))
    assert result.returncode == 0, result.stderr
    assert "held-out unigram entropy" in result.stdout
    return folder


def wait_for_step(step: int, folder: Path, process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "log.jsonl").exists() and f'"step": {step},' in (folder / "log.jsonl").read_text():
            return
        time.sleep(0.01)


def assert_same(folder: Path, undisturbed: Path) -> None:
    assert log(folder) == log(undisturbed)
    assert parameters(folder) == parameters(undisturbed)


def test_the_log_holds_every_step_and_evaluation(undisturbed: Path) -> None:
    lines = log(undisturbed)
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    assert {line["task"] for line in steps[:6]} == {"knowledge_masking"}  # stage 1 of the continual schedule
    assert {line["task"] for line in steps[6:]} == {"knowledge_masking", "capitalization"}
    evaluations = [(line["step"], line["name"]) for line in lines if line["kind"] == "eval"]
    assert evaluations[0] == (6, "knowledge_masking")  # the end of stage 1
    assert evaluations[-3:] == [(STEPS, "knowledge_masking"), (STEPS, "capitalization"), (STEPS, "all_tasks")]
    assert (undisturbed / "curves.png").stat().st_size > 10_000


def test_killed_in_mid_training(manual_corpus: Path, undisturbed: Path, tmp_path: Path) -> None:
    words = arguments(manual_corpus, tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "ernie_paddle.cli.main", *words],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_step(7, tmp_path, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    assert checkpoint.steps(tmp_path / "checkpoints")[0] == 5
    result = ernie(*words)
    assert result.returncode == 0, result.stderr
    assert "resuming after step" in result.stderr
    assert_same(tmp_path, undisturbed)


def test_killed_inside_a_save(manual_corpus: Path, undisturbed: Path, tmp_path: Path) -> None:
    words = arguments(manual_corpus, tmp_path)
    assert ernie(*words, script=KILL_IN_SAVE).returncode == -signal.SIGKILL
    assert checkpoint.steps(tmp_path / "checkpoints") == [5]
    assert any(path.name.startswith(".tmp-") for path in (tmp_path / "checkpoints").iterdir())
    result = ernie(*words)
    assert result.returncode == 0, result.stderr
    assert "resuming after step 5" in result.stderr
    assert not any(path.name.startswith(".tmp-") for path in (tmp_path / "checkpoints").iterdir())
    assert_same(tmp_path, undisturbed)


def test_sigterm_saves_and_a_damaged_checkpoint_is_named(
    manual_corpus: Path, undisturbed: Path, tmp_path: Path
) -> None:
    words = arguments(manual_corpus, tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "ernie_paddle.cli.main", *words], env=environment(), stdout=subprocess.PIPE, text=True
    )
    wait_for_step(7, tmp_path, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "run the same command again to resume" in output
    saved = checkpoint.steps(tmp_path / "checkpoints")
    assert 5 < saved[-1] < STEPS
    newest = checkpoint.step_path(tmp_path / "checkpoints", saved[-1])
    content = bytearray((newest / "training.safetensors").read_bytes())
    content[-5] ^= 1
    (newest / "training.safetensors").write_bytes(content)
    result = ernie(*words)
    assert result.returncode == 0, result.stderr
    assert f"{newest.name}/training.safetensors" in result.stderr
    assert f"resuming after step {saved[-2]}" in result.stderr
    assert_same(tmp_path, undisturbed)


def test_a_finished_run_is_not_trained_again_and_other_settings_are_refused(
    manual_corpus: Path, undisturbed: Path
) -> None:
    before = log(undisturbed)
    again = ernie(*arguments(manual_corpus, undisturbed))
    assert again.returncode == 0, again.stderr
    assert log(undisturbed) == before
    other = ernie(*arguments(manual_corpus, undisturbed, train__seed=5))
    assert other.returncode == 2
    assert "train.seed was 0 and is 5" in other.stderr
    assert "Traceback" not in other.stderr
