"""Arguments of fleetrun: ranges, checks in one sentence, everything else unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propeller.errors import UserError
from propeller.tools import fleetrun


@pytest.fixture(autouse=True)
def _script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")


def gpu_machine(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(fleetrun, "installed_wheels", lambda: {"paddlepaddle-gpu": "3.3.1"})
    real = fleetrun.visible_gpus
    monkeypatch.setattr(
        fleetrun,
        "visible_gpus",
        lambda environ: real(environ) if "CUDA_VISIBLE_DEVICES" in environ else [str(n) for n in range(count)],
    )


@given(st.lists(st.integers(0, 30), min_size=1, unique=True).map(sorted))
def test_ranges_say_the_same_as_lists(numbers: list[int]) -> None:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    assert fleetrun.expand_devices(text) == [str(number) for number in numbers]


@pytest.mark.parametrize("text", ["", "a", "0-", "-3", "0,,1", "0-3-5", "3-1", "0,0", "0-2,1", "0;1", "0 - 3", "１-2x"])
def test_malformed_ranges(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleetrun.main([f"--gpus={text}", "train.py"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fleetrun: devices {text!r}: ")
    assert error.count("\n") == 1


def test_only_devices_are_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_machine(monkeypatch, 8)
    arguments = [
        "--master",
        "10.0.0.1:60",
        "--gpus=0-3,6",
        "--log_dir",
        "runs/log",
        "--nnodes=2",
        "--log_level",
        "INFO",
    ]
    script = ["train.py", "--gpus", "0-7", "--rank=3", "x", "--", "--a"]
    launch, environment, log_dir = fleetrun.plan([*arguments, *script], {"HOME": "/root"})
    expected = "--master 10.0.0.1:60 --devices 0,1,2,3,6 --log_dir runs/log --nnodes 2 --log_level INFO --"
    assert launch == [*expected.split(), *script]
    assert log_dir == Path("runs/log")
    assert environment["HOME"] == "/root"


@pytest.mark.parametrize(
    ("environ", "gpus", "message"),
    [
        ({}, "0-7", r"--gpus asks for 8 GPU\(s\) \(0,1,2,3,4,5,6,7\), but this machine has only 2 \(0,1\)"),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, "0,1", r"but CUDA_VISIBLE_DEVICES shows only 2 \(2,3\)"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "0", "no GPU is visible; use --nproc_per_node N"),
    ],
)
def test_fewer_devices_than_asked(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], gpus: str, message: str
) -> None:
    gpu_machine(monkeypatch, 2)
    with pytest.raises(UserError, match=message):
        fleetrun.plan(["--gpus", gpus, "train.py"], environ)


def test_what_is_visible_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_machine(monkeypatch, 8)
    assert fleetrun.plan(["--gpus", "2-3", "train.py"], {"CUDA_VISIBLE_DEVICES": "2,3"})[0][:2] == ["--devices", "2,3"]
    assert fleetrun.plan(["--devices", "0-7", "train.py"], {})[0][:2] == ["--devices", "0,1,2,3,4,5,6,7"]
    with pytest.raises(UserError, match=r"--nproc_per_node 9: only 8 GPU\(s\)"):
        fleetrun.plan(["--nproc_per_node", "9", "train.py"], {})


def test_cpu_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleetrun, "installed_wheels", lambda: {"paddlepaddle": "3.3.1"})
    with pytest.raises(UserError, match=r"CPU build: install paddlepaddle-gpu .*doctor --wheel.*--nproc_per_node"):
        fleetrun.plan(["--gpus", "0", "train.py"], {})
    _, environment, _ = fleetrun.plan(["--nproc_per_node", "2", "train.py"], {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert "CUDA_VISIBLE_DEVICES" not in environment
    monkeypatch.setattr(fleetrun, "cores", lambda: 8)
    assert fleetrun.plan(["--nproc_per_node", "2", "train.py"], {})[1]["MKL_NUM_THREADS"] == "4"
    assert "MKL_NUM_THREADS" not in fleetrun.plan(["train.py"], {"OMP_NUM_THREADS": "1"})[1]
    monkeypatch.setattr(fleetrun, "installed_wheels", dict)
    with pytest.raises(UserError, match=r"PaddlePaddle is not installed; install it with `\S+ -m pip install "):
        fleetrun.plan(["train.py"], {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nproc_per_node", "2"], "no script to run"),
        (["--nproc_per_node"], "needs a value"),
        (["--nproc_per_node", "two", "train.py"], "whole number"),
        (["--nproc_per_node", "0", "train.py"], "whole number"),
        (["absent.py"], "absent.py: there is no such script"),
    ],
)
def test_other_mistakes_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleetrun.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert fleetrun.main(["--help"]) == 0
    assert "--nproc_per_node N" in capsys.readouterr().out
    assert fleetrun.main([]) == 2


def test_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "workerlog.0"
    log.write_text("old run\n")
    before = log.stat().st_size
    with open(log, "a") as stream:
        stream.write("\n".join(f"line {n}" for n in range(5000)) + "\n\n")
    assert fleetrun.last_lines(log, 2, since=before) == ["line 4998", "line 4999"]
    log.write_text("old run\nnew\n")
    assert fleetrun.last_lines(log, 5, since=before) == ["new"]
    assert fleetrun.last_lines(tmp_path / "absent") == []
