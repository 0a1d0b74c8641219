"""The runs of one row and seed in one process, which starts Paddle once: `python trial.py SPEC.json`, also by fleetrun.

The process ends at the first run that does not end well; whoever started it sees which ones have a result.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

RESULT = "result.json"
EXIT_UNFINISHED = 130


def last_checkpoint(run: Path) -> tuple[Path, int]:
    """The newest checkpoint of a run (not the best: the tables are about the end of training) and its step.

    Raises:
        UserError: there is none.
    """
    from propeller import checkpoint
    from propeller.errors import UserError
    from propeller.run_folder import CHECKPOINTS

    newest, problems = checkpoint.latest_valid(run / CHECKPOINTS)
    if newest is None:
        raise UserError(f"{run}: no checkpoint ({problems[0] if problems else 'the run has not begun'})")
    return newest, int(newest.name.partition("-")[2])


def pretrain_result(run: Path) -> dict[str, Any] | None:
    """Stages and evaluations of a pre-training run; None if it has not come to its end."""
    from ernie_paddle.recipe import Recipe
    from ernie_paddle.training_plan import make_plan
    from propeller.hooks.jsonl import read_log
    from propeller.run_folder import LOG
    from propeller.settings import from_mapping

    path, step = last_checkpoint(run)
    recipe = from_mapping(Recipe, json.loads((path / "recipe.json").read_text(encoding="utf-8")), str(path))
    schedule = make_plan(recipe).schedule
    if step < schedule.total_steps:
        return None
    evaluations = [line for line in read_log(run / LOG) if line["kind"] == "eval"]
    kept = [{key: line[key] for key in ("step", "name", "metrics")} for line in evaluations]
    return {"steps": step, "stages": schedule.table(), "tasks": list(recipe.tasks), "evaluations": kept}


def finetune_result(run: Path) -> dict[str, Any] | None:
    """The report of a fine-tuning run; None if it has not come to its end."""
    from ernie_paddle.cli.finetune import RESULTS

    path = run / RESULTS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def carry_out(spec: dict[str, Any]) -> int:
    """Do one run and write its result; returns the exit code.

    `spec`: `arguments` of `ernie`; `folder`; `settings` to remember; `model_of`: the pre-training run that a
    fine-tuning run starts from, or None.
    """
    from ernie_paddle.cli.main import main as ernie
    from propeller import distributed

    began = time.monotonic()
    folder, arguments = Path(spec["folder"]), list(spec["arguments"])
    tuning = arguments[0] == "finetune"
    if spec["model_of"]:
        arguments += ["--model", str(last_checkpoint(Path(spec["model_of"]))[0])]
    code = ernie(arguments)
    if code != 0:
        return code
    found = finetune_result(folder) if tuning else pretrain_result(folder)
    if found is None:
        return EXIT_UNFINISHED
    if distributed.rank() == 0:
        if tuning:
            # A table takes hundreds of fine-tuned models, and only their figures are asked for.
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        result = {"settings": spec["settings"], "seconds": round(time.monotonic() - began, 1), **found}
        aside = folder / f".tmp-{RESULT}"
        aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        aside.replace(folder / RESULT)
    return 0


def main() -> int:
    """Carry out the runs of the specification."""
    if sys.platform == "linux":
        # If whoever started this is killed, end in order: PR_SET_PDEATHSIG.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    for spec in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        code = carry_out(spec)
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
