"""The actions of a table's runs, and the figures that they return."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ernie_paddle.finetune import run
from ernie_paddle.jobs.job import RunFailedError


def pretrain(folder: Path, recipe: str, overrides: Sequence[str], corpus: str) -> dict[str, Any] | None:
    """Pre-train a model; returns stages and evaluations of the run, None if it did not finish.

    Args:
        folder: Folder of the run.
        recipe: Name of the recipe.
        overrides: Settings that replace those of the recipe.
        corpus: A prepared corpus.

    Raises:
        RunFailedError: The exit code of the run is not 0.
    """
    from ernie_paddle.pretraining.recipe import Recipe
    from ernie_paddle.pretraining.recipe_files import load_recipe
    from ernie_paddle.pretraining.run import Pretraining
    from ernie_paddle.pretraining.schedule.plan import make_plan
    from propeller.run.hooks.jsonl import read_log
    from propeller.run.run_folder import LOG
    from propeller.settings import from_mapping

    outcome = Pretraining(load_recipe(recipe, overrides, [corpus]), folder).run()
    if outcome.exit_code != 0:
        raise RunFailedError(outcome.exit_code)
    path, step = last_checkpoint(folder)
    trained = from_mapping(Recipe, json.loads((path / "recipe.json").read_text(encoding="utf-8")), str(path))
    schedule = make_plan(trained).schedule
    if step < schedule.total_steps:
        return None
    evaluations = [line for line in read_log(folder / LOG) if line["kind"] == "eval"]
    kept = [{key: line[key] for key in ("step", "name", "metrics")} for line in evaluations]
    return {"steps": step, "stages": schedule.table(), "tasks": list(trained.tasks), "evaluations": kept}


def finetune(folder: Path, options: Mapping[str, Any], model_of: str | None) -> dict[str, Any] | None:
    """Fine-tune a model; returns the report of the run, None if it did not finish.

    Args:
        folder: Folder of the run; its checkpoints are deleted at the end.
        options: Options of `ernie_paddle.finetune.run.finetune`.
        model_of: Pre-training run to start from; None: random weights.

    Raises:
        RunFailedError: The exit code of the run is not 0.
    """
    from ernie_paddle.finetune.training.results import RESULTS
    from propeller.device import distributed

    model: dict[str, Any] = {} if model_of is None else {"model": last_checkpoint(Path(model_of))[0]}
    outcome = run.finetune(**options, **model)
    if outcome.exit_code != 0:
        raise RunFailedError(outcome.exit_code)
    path = folder / RESULTS
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if distributed.rank() == 0:
        # A table has hundreds of fine-tuned models, of which only the figures are needed.
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return found


def last_checkpoint(folder: Path) -> tuple[Path, int]:
    """The newest checkpoint of a run (not the best: the tables are about the end of training) and its step.

    Raises:
        UserError: There is no checkpoint.
    """
    from propeller.errors import UserError
    from propeller.run import checkpoint
    from propeller.run.run_folder import CHECKPOINTS

    newest, problems = checkpoint.latest_valid(folder / CHECKPOINTS)
    if newest is None:
        raise UserError(f"{folder}: no checkpoint ({problems[0] if problems else 'the run has not begun'})")
    return newest, int(newest.name.partition("-")[2])
