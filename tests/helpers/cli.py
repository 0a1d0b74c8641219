"""Calls of `ernie` inside the process of the tests."""

from __future__ import annotations

from ernie_paddle.cli.main import main


def exit_code(arguments: list[str]) -> int:
    """The exit code of `ernie` with these arguments, also where its parser ends the process."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
