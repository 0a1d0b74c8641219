"""`run.sh` called from another folder: paths are those of the caller, but the project installs and tests itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_paddle.benchmarks.suite import suite_names
from helpers.paths import ROOT

RUN = ROOT / "run.sh"
FILES = ("pyproject.toml", "setup.py", "constraints.txt", "ernie_paddle/__init__.py")
OURS = "from propeller.tools.fleetrun import main"
PADDLES = "from paddle.distributed.launch.main import launch"
# A Python that only says from where pip and the tools of a check are called; all else it does. Its pip writes Paddle's
# `fleetrun` where it is told to in $LAST, and otherwise the project's.
PYTHON = f"""#!/bin/sh
case "$2" in
    pip)
        [ "$3" = install ] || exit 1
        echo "$PWD: $*"
        case "$LAST $*" in
            paddle*--no-deps*) echo "{OURS}" >.venv/bin/fleetrun ;;
            paddle*) echo "{PADDLES}" >.venv/bin/fleetrun ;;
            *) echo "{OURS}" >.venv/bin/fleetrun ;;
        esac
        ;;
    ruff | mypy | pytest | bench) echo "$PWD: $*" ;;
    *) exec "{sys.executable}" "$@" ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with an environment in which all is installed."""
    folder = tmp_path / "a project"
    environment = folder / ".venv"
    (environment / "bin").mkdir(parents=True)
    shutil.copy(RUN, folder)
    (folder / "ernie_paddle").mkdir()
    for name in FILES:
        (folder / name).write_text(name)
    python = environment / "bin" / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    (environment / "bin" / "fleetrun").write_text(OURS)
    ernie = environment / "bin" / "ernie"
    ernie.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" PYTHONSAFEPATH=1 exec "{sys.executable}" -m ernie_paddle.cli.main "$@"\n'
    )
    ernie.chmod(0o755)
    (folder / "configs").symlink_to(ROOT / "configs")
    stamp = hashlib.sha256("".join(FILES).encode()).hexdigest()
    for extra in ("cpu", "dev", "visualdl"):
        (environment / f".installed-{extra}").write_text(stamp + "\n")
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The caller's folder, with a file that must not be taken for a module of Python's."""
    folder = tmp_path / "elsewhere"
    (folder / "data").mkdir(parents=True)
    if sys.version_info >= (3, 11):
        (folder / "dataclasses.py").write_text("raise SystemExit('taken for a module')\n")
    return folder


def called(project: Path, elsewhere: Path, *arguments: str, last: str = "project") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", f"../{project.name}/run.sh", *arguments],
        cwd=elsewhere,
        env={**os.environ, "PADDLE_WHEEL": "cpu", "CDPATH": str(project.parent), "LAST": last},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help(project: Path, elsewhere: Path) -> None:
    assert "usage: bash run.sh COMMAND" in called(project, elsewhere, "help").stdout


def test_paths_are_those_of_the_caller(project: Path, elsewhere: Path) -> None:
    done = called(project, elsewhere, "squad", "--data_dir", "data")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "ernie benchmarks squad: --data_dir data has no complete task of squad"
    )
    (elsewhere / "data").rmdir()
    (project / "data").mkdir()
    done = called(project, elsewhere, "squad", "--data_dir", "data")
    assert done.stderr.splitlines()[-1].startswith("ernie benchmarks squad: --data_dir data: no such folder")


def test_every_suite_is_a_command_and_nothing_else(project: Path, elsewhere: Path) -> None:
    """Suites are those of the folder of configurations: `run.sh` has no list of its own."""
    for suite in suite_names():
        done = called(project, elsewhere, suite, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage: ernie benchmarks")
    for other in ("gluee", "../benchmarks/glue", "GLUE"):
        done = called(project, elsewhere, other)
        assert done.returncode == 2
        assert f"there is no command '{other}'" in done.stderr


def test_the_project_installs_and_tests_itself(project: Path, elsewhere: Path) -> None:
    (project / ".venv" / ".installed-dev").unlink()
    done = called(project, elsewhere, "test", "tests/unit")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in said] == [str(project)] * 5
    assert [line.split()[-1] for line in said] == [".[cpu,dev,visualdl]", ".", ".", "ernie_paddle", "tests/unit"]
    assert (project / ".venv" / ".installed-dev").is_file()
    assert called(project, elsewhere, "bench", "step").stdout == f"{project}: -m bench step\n"


@pytest.mark.parametrize("last", ["project", "paddle"])
def test_fleetrun_is_ours_after_installation(project: Path, elsewhere: Path, last: str) -> None:
    """Whichever wheel pip writes last; a second installation of the project alone happens only where it is needed."""
    (project / ".venv" / ".installed-cpu").unlink()
    done = called(project, elsewhere, "install", last=last)
    assert done.returncode == 0, done.stderr
    assert (project / ".venv" / "bin" / "fleetrun").read_text().strip() == OURS
    installed = done.stdout.splitlines()
    assert len(installed) == (2 if last == "paddle" else 1)
    assert ("--no-deps --force-reinstall -e ." in installed[-1]) == (last == "paddle")


@pytest.mark.parametrize("text", [PADDLES, None])
def test_a_fleetrun_that_was_lost_later_comes_back(project: Path, elsewhere: Path, text: str | None) -> None:
    """A person upgraded Paddle by hand: the files that the stamps stand for are the same as before."""
    program = project / ".venv" / "bin" / "fleetrun"
    program.unlink()
    if text is not None:
        program.write_text(text)
    done = called(project, elsewhere, "install", last="paddle")
    assert done.returncode == 0, done.stderr
    assert program.read_text().strip() == OURS
    (line,) = done.stdout.splitlines()
    assert "--no-deps --force-reinstall" in line
    assert called(project, elsewhere, "install", last="paddle").stdout == "", "all is in order now"
