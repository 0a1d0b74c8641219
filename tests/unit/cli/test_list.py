"""`ernie list` names everything that there is, with a line each."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from ernie_paddle.cli.main import main
from helpers.paths import ROOT


def listed(capsys: pytest.CaptureFixture[str], what: str) -> dict[str, str]:
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    pairs = [(name, meaning.strip()) for name, _, meaning in (line.partition(" ") for line in lines)]
    assert len(dict(pairs)) == len(pairs)
    assert all(len(meaning) > 10 for _, meaning in pairs), pairs
    # All meanings begin in the same column.
    assert len({line.index(meaning) for line, (_, meaning) in zip(lines, pairs, strict=True)}) == 1
    return dict(pairs)


def test_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, "objectives")
    modules = (ROOT / "ernie_paddle" / "objectives").glob("*.py")
    names = re.compile(r'^    name = "(\w+)"$', re.MULTILINE)
    assert set(found) == {name for path in modules for name in names.findall(path.read_text())}
    assert {"mlm", "nsp", "quick_thoughts", "fast_sent"} <= set(found)


def test_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    papers = {"sum", "incremental", "alternating", "alternating_plus", "cmtl", "cmtl_plus", "multi_task", "sequential"}
    assert set(listed(capsys, "schedules")) == papers | {"table"}


def test_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"classification", "regression"} <= set(listed(capsys, "tasks"))


def test_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, "recipes")
    assert set(found) == {path.stem for path in (ROOT / "configs" / "recipes").glob("*.yaml")}
    assert not any("unusable" in line for line in found.values())


def test_an_unknown_list_names_the_nearest() -> None:
    command = [sys.executable, "-m", "ernie_paddle.cli.main", "list", "objektives"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "'objectives'" in line
