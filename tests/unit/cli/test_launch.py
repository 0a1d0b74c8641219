"""`ernie launch` is fleetrun under another name: it passes arguments, exit codes and messages through."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from ernie_paddle.cli.main import main
from propeller.tools import fleetrun


@pytest.mark.parametrize("code", [0, 2, 130, 137])
def test_arguments_and_exit_code_are_passed_on(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Nothing is changed on the way, neither dashes in the names of options nor what belongs to the script."""
    given = ["--gpus=0-3", "--log-level", "INFO", "pretrain.py", "--dry-run", "--help", "--", "--x-y"]
    seen: list[tuple[list[str], str]] = []

    def run(arguments: Sequence[str], *, program: str) -> int:
        seen.append((list(arguments), program))
        return code

    monkeypatch.setattr(fleetrun, "main", run)
    assert main(["launch", *given]) == code
    assert seen == [(given, "ernie launch")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no script to run"),
        (["--nproc_per_node"], "--nproc_per_node needs a value"),
        (["--gpus", "3-1", "x.py"], "devices '3-1': the range '3-1' runs backwards"),
        (["--nproc_per_node", "2", "absent.py"], "absent.py: there is no such script"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ernie launch: {message}")
    assert error.count("\n") == 1


def test_help_names_every_option_of_fleetrun(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["launch", "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    options = set(re.findall(r"^  (?:--\w+ \w+, )?(--\w+) [A-Z]", fleetrun.HELP, re.MULTILINE))
    assert {"--nproc_per_node", "--log_dir"} <= options
    assert [name for name in sorted(options) if name not in printed] == []
