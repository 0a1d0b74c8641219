"""The actions of a suite's jobs, run in the process of the task: fine-tune and evaluate, and predict the tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ernie_paddle.finetune import run
from ernie_paddle.finetune.training.results import RESULTS
from ernie_paddle.jobs.job import RESULT, RunFailedError
from propeller.errors import UserError, one_line
from reader.errors import DataError

RUN_FOLDERS = "variant-*/seed-*"
"""Glob pattern of the runs in the folder of a task."""


def finetune(
    folder: Path, options: Mapping[str, Any], more_dev: Mapping[str, str], metric: str, like: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Fine-tune and evaluate a model.

    Args:
        folder: Folder of the run.
        options: Options of `ernie_paddle.finetune.run.finetune`.
        more_dev: Further labelled tables on which the best checkpoint is evaluated, by name.
        metric: Metric that selects the best run.
        like: Settings that identify the rivals among this task's runs: of all finished rivals in the folder of the task
            only the best keeps its checkpoint.

    Returns:
        The report of the run, with the metrics of the further tables in `best` as "metric name", and the names of
        tables that could not be evaluated in `not_evaluated`; None if the run did not finish.

    Raises:
        RunFailedError: The exit code of the run is not 0.
    """
    outcome = run.finetune(**options)
    if outcome.exit_code != 0:
        raise RunFailedError(outcome.exit_code)
    path = folder / RESULTS
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    found["not_evaluated"] = []
    for name, table in more_dev.items():
        try:
            # Unusable rows are treated as in the first development table.
            skip = bool(options.get("skip_unusable", False))
            more = run.evaluate(folder, table, skip_unusable=skip)
        except (UserError, DataError, OSError) as error:
            # The run itself is valid; the log has the reason.
            run.say(f"{name} could not be evaluated: {one_line(error)}")
            found["not_evaluated"].append(name)
            continue
        (folder / f"{name}.json").write_text(json.dumps(more.document(), indent=1) + "\n", encoding="utf-8")
        for key, scores in (("best", more.scores), ("baseline", more.baseline)):
            found[key].update({f"{score} {name}": value for score, value in scores.items()})
    _keep_best(folder, found["best"][metric], metric, like)
    return found


def answer(
    folder: Path, like: Mapping[str, Any], metric: str, tests: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Predict tests with the best of a task's runs, including those of earlier commands with more seeds or values.

    Args:
        folder: Folder for a file of predictions of each test, as `ernie predict` writes them: NAME.jsonl.
        like: Settings of the runs that may be used.
        metric: Metric that selects the best run.
        tests: The `path` of the table and `options` of `ernie_paddle.finetune.run.predict`, by name of the test.

    Returns:
        `model`: the run that was used; `rows`: the number of predictions by test.
    """
    scores = _contenders(folder.parent, metric, like)
    if not scores:
        raise UserError("no run of this task came to its end, so its tests cannot be predicted")
    best = max(scores, key=scores.__getitem__)
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name, table in tests.items():
        output = folder / f"{name}.jsonl"
        rows[name] = _write_answers(run.predict(best, table["path"], **table["options"]), output)
    return {"model": str(best), "rows": rows}


def _write_answers(found: run.Prediction, output: Path) -> int:
    """Write predictions as JSON lines, completely or not at all; returns their number."""
    aside, rows = output.with_name(f".tmp-{output.name}"), 0
    with open(aside, "w", encoding="utf-8") as lines:
        for chunk in found.chunks:
            lines.writelines(json.dumps(answer, ensure_ascii=False) + "\n" for answer in chunk)
            rows += len(chunk)
    if not rows:
        raise DataError(f"{output.stem}: no rows to predict")
    for number, reason in found.problems[:1]:
        run.say(f"{len(found.problems):,} rows could not be predicted, the first in {found.counted} {number}: {reason}")
    aside.replace(output)
    return rows


def _keep_best(folder: Path, score: float, metric: str, like: Mapping[str, Any]) -> None:
    """Remove the checkpoints of all finished runs but the best, as a suite has hundreds of runs."""
    from propeller.run.run_folder import CHECKPOINTS

    scores = {**_contenders(folder.parents[1], metric, like), folder: score}
    best = max(scores, key=scores.__getitem__)
    for loser in scores.keys() - {best}:
        shutil.rmtree(loser / CHECKPOINTS, ignore_errors=True)


def _contenders(task: Path, metric: str, like: Mapping[str, Any]) -> dict[Path, float]:
    """The deciding metric of a task's finished runs with these settings that still have their checkpoint, by folder."""
    from propeller.run.run_folder import CHECKPOINTS

    found = {}
    for path in sorted(task.glob(f"{RUN_FOLDERS}/{RESULT}")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if (path.parent / CHECKPOINTS).is_dir() and all(result["settings"].get(key) == like[key] for key in like):
            found[path.parent] = float(result["best"][metric])
    return found
