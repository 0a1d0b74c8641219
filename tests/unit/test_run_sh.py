"""`run.sh` called from another folder: paths are those of the caller, but the project installs and tests itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT

RUN = ROOT / "run.sh"
FILES = ("pyproject.toml", "setup.py", "constraints.txt", "ernie_paddle/__init__.py")
# A Python that only says from where pip and the tools of a check are called; all else it does.
PYTHON = f"""#!/bin/sh
case "$2" in
    pip) [ "$3" = install ] && echo "$PWD: $*" ;;
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


def called(project: Path, elsewhere: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", f"../{project.name}/run.sh", *arguments],
        cwd=elsewhere,
        env={**os.environ, "PADDLE_WHEEL": "cpu", "CDPATH": str(project.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help(project: Path, elsewhere: Path) -> None:
    assert "usage: bash run.sh COMMAND" in called(project, elsewhere, "help").stdout


def test_paths_are_those_of_the_caller(project: Path, elsewhere: Path) -> None:
    done = called(project, elsewhere, "squad", "--data_dir", "data")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("run.sh squad: --data_dir data holds no task of squad")
    (elsewhere / "data").rmdir()
    (project / "data").mkdir()
    done = called(project, elsewhere, "squad", "--data_dir", "data")
    assert done.stderr.splitlines()[-1].startswith("run.sh squad: --data_dir data: no such folder")


def test_the_project_installs_and_tests_itself(project: Path, elsewhere: Path) -> None:
    (project / ".venv" / ".installed-dev").unlink()
    done = called(project, elsewhere, "test", "tests/unit")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in said] == [str(project)] * 5
    assert [line.split()[-1] for line in said] == [".[cpu,dev,visualdl]", ".", ".", "ernie_paddle", "tests/unit"]
    assert (project / ".venv" / ".installed-dev").is_file()
    assert called(project, elsewhere, "bench", "step").stdout == f"{project}: -m bench step\n"
