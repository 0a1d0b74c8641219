"""Running the verbs of `ernie` from other programs: in processes of their own, as a person would, or in this one."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path


class VerbFailedError(RuntimeError):
    """A verb ended with this exit code; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def ernie(*arguments: str | Path) -> str:
    """Run one `ernie` command in a fresh process, shown as it would be typed; returns what it printed.

    Raises:
        VerbFailedError: it ended with another exit code than 0.
    """
    words = [str(argument) for argument in arguments]
    print(f"\n$ ernie {shlex.join(words)}", flush=True)
    command = [sys.executable, "-m", "ernie_paddle.cli.main", *words]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(result.stdout, end="", flush=True)
    if result.returncode != 0:
        raise VerbFailedError(result.returncode)
    return result.stdout


def run_verb(*arguments: str) -> None:
    """Run one `ernie` command in this process, which has loaded Paddle already.

    Raises:
        VerbFailedError: it ended with another exit code than 0.
    """
    from ernie_paddle.cli.main import main

    code = main(list(arguments))
    if code != 0:
        raise VerbFailedError(code)
