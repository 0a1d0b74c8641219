"""What the commands that do many jobs have in common: their report, their exit codes, and how they end early."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ernie_paddle.cli.main import EXIT_INTERRUPTED, EXIT_MISTAKE
from ernie_paddle.jobs.job import K, RunFailedError
from ernie_paddle.jobs.runner import InterruptedRunError, JobRunner
from propeller.errors import UserError, one_line
from reader.errors import DataError

EXIT_FAILED_RUNS = 3
_AGAIN = "interrupted; the same command goes on from here"


def do_jobs(runner: JobRunner[K], write: Callable[[], str], at_end: Callable[[], None]) -> int:
    """Do all jobs; returns the exit code.

    Args:
        runner: of the jobs.
        write: writes the report of what is done so far and returns it; called after every group.
        at_end: called when all is done and the report is printed.
    """
    try:
        runner.run(write)
    except InterruptedRunError:
        write()
        print(_AGAIN, file=sys.stderr)
        return EXIT_INTERRUPTED
    print(write())
    at_end()
    if runner.failures:
        print(f"{len(runner.failures)} runs failed; the same command tries them again", file=sys.stderr)
    return EXIT_FAILED_RUNS if runner.failures else 0


def exit_code(program: str, run: Callable[[], int]) -> int:
    """What `run` returns; a person's mistake is one line after the program's name and 2, as for `ernie`."""
    try:
        return run()
    except RunFailedError as failure:
        return failure.code
    except (DataError, UserError, OSError) as error:
        print(f"{program}: {one_line(error)}", file=sys.stderr)
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        print(f"\n{_AGAIN}", file=sys.stderr)
        return EXIT_INTERRUPTED
