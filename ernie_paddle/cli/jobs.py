"""The shared parts of commands that run many jobs: report, exit codes, and interruption."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ernie_paddle.cli.main import EXIT_INTERRUPTED, EXIT_MISTAKE
from ernie_paddle.jobs.job import K, RunFailedError
from ernie_paddle.jobs.runner import InterruptedRunError, JobRunner
from propeller.errors import UserError, one_line
from reader.errors import DataError

EXIT_FAILED_RUNS = 3
_AGAIN = "interrupted; run the same command again to resume"


def do_jobs(runner: JobRunner[K], write: Callable[[], str], at_end: Callable[[], None]) -> int:
    """Run all jobs; returns the exit code.

    Args:
        runner: The runner of the jobs.
        write: Writes the report of the finished jobs and returns it; called after every group.
        at_end: Called when all jobs are finished and the report is printed.
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
        print(f"{len(runner.failures)} runs failed; run the same command again to retry them", file=sys.stderr)
    return EXIT_FAILED_RUNS if runner.failures else 0


def exit_code(program: str, run: Callable[[], int]) -> int:
    """The result of `run`; a user's mistake prints one line with the program's name and gives 2, as for `ernie`."""
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
