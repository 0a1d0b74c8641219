"""fleetrun really starts CPU workers, and passes on their failures and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals to workers need /proc")

WORKER = """
import os, signal, sys, time
rank, how = os.environ["PADDLE_TRAINER_ID"], sys.argv[1]
world, backend = os.environ["PADDLE_TRAINERS_NUM"], os.environ.get("PADDLE_DISTRI_BACKEND")
print("worker", rank, world, backend, sys.argv[2:], flush=True)
if how == "fail" and rank == "1":
    print("train: settings.yaml: unknown key 'lrr'", file=sys.stderr)
    sys.exit(2)
if how == "signals":
    def end(number, frame):
        time.sleep(0.5)  # as long as a save takes
        open(f"ended-{rank}", "w").write(str(number))
        os._exit(130 if number == signal.SIGINT else 0)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    open(f"ready-{rank}", "w").write(str(os.getpid()))
if how != "done":
    time.sleep(60)
"""


FLEETRUN = ("propeller.tools.fleetrun",)
ERNIE_LAUNCH = ("ernie_paddle.cli.main", "launch")


def start(tmp_path: Path, *arguments: str, program: tuple[str, ...] = FLEETRUN) -> subprocess.Popen[str]:
    (tmp_path / "work.py").write_text(WORKER)
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    repository = str(ROOT)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [repository, environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            *program,
            "--nproc_per_node",
            "2",
            "--log_dir",
            "logs",
            "work.py",
            *arguments,
        ],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_workers_over_gloo(tmp_path: Path) -> None:
    out, error = start(tmp_path, "done", "--a", "0-7", "--rank", "9").communicate(timeout=120)
    assert "worker 0 2 gloo ['--a', '0-7', '--rank', '9']" in out, error
    assert "worker 1 2 gloo ['--a', '0-7', '--rank', '9']" in (tmp_path / "logs" / "workerlog.1").read_text()


@pytest.mark.parametrize(("program", "name"), [(FLEETRUN, "fleetrun"), (ERNIE_LAUNCH, "ernie launch")])
def test_a_failed_worker_is_shown_with_its_exit_code(tmp_path: Path, program: tuple[str, ...], name: str) -> None:
    process = start(tmp_path, "fail", program=program)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    end = error.splitlines()[-4:]
    assert f"{name}: worker 1 failed with exit code 2; its output (logs/workerlog.1) ends with:" in end
    assert "  train: settings.yaml: unknown key 'lrr'" in end
    assert "Container" not in error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_reach_the_workers(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = start(tmp_path, "signals")
    try:
        deadline = time.monotonic() + 120
        while not all((tmp_path / f"ready-{rank}").exists() for rank in range(2)):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        time.sleep(0.2)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, error
    for rank in range(2):
        assert (tmp_path / f"ended-{rank}").read_text() == str(int(number))
        worker = int((tmp_path / f"ready-{rank}").read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
