"""Runs the jobs of one group in one process, which starts Paddle once: `python child.py SPEC.json`, also with fleetrun.

The process ends at the first job that fails; the parent process sees which jobs have a result.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ernie_paddle.jobs.job import RESULT, RunFailedError

EXIT_UNFINISHED = 130


def carry_out(spec: dict[str, Any]) -> int:
    """Run one job and write its result; returns the exit code.

    `spec` holds the `action`, `arguments`, `folder` and `settings` of a `Job`.
    """
    from propeller.device import distributed

    began = time.monotonic()
    folder = Path(spec["folder"])
    module, _, name = spec["action"].partition(":")
    try:
        found = getattr(importlib.import_module(module), name)(folder, **spec["arguments"])
    except RunFailedError as failure:
        return failure.code
    if found is None:
        return EXIT_UNFINISHED
    if distributed.rank() == 0:
        result = {"settings": spec["settings"], "seconds": round(time.monotonic() - began, 1), **found}
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".tmp-{RESULT}"
        aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        aside.replace(folder / RESULT)
    return 0


def main() -> int:
    """Run the jobs of the specification."""
    from propeller.errors import UserError, one_line
    from reader.errors import DataError

    if sys.platform == "linux":
        # End in order if the parent process is killed (PR_SET_PDEATHSIG).
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    for spec in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        try:
            code = carry_out(spec)
        except (DataError, UserError, OSError) as error:
            print(one_line(error), file=sys.stderr)
            return 2
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
