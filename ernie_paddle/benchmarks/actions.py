"""What the jobs of a suite do, each in the process of its task: fine-tune and evaluate; answer the tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ernie_paddle.jobs.job import RESULT
from ernie_paddle.verbs import VerbFailedError, run_verb
from propeller.errors import UserError

RUN_FOLDERS = "variant-*/seed-*"
"""Where the runs of a task are, in its folder."""
_SKIPPING = ("--skip_unusable", "--no_skip_unusable")


def finetune(
    folder: Path, arguments: Sequence[str], more_dev: Mapping[str, str], metric: str, like: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Fine-tune and evaluate.

    Args:
        folder: of the run.
        arguments: of `ernie`.
        more_dev: further labelled tables to evaluate the best checkpoint on, by name.
        metric: the one that decides.
        like: settings that this task's runs share with this one if they are its rivals: of all rivals in the folder of
            the task that are finished only the best keeps its checkpoint.

    Returns:
        The report of the run, the metrics of the further tables in `best` as "metric name", and in `not_evaluated` the
        names of those that could not be evaluated; None if the run did not come to its end.
    """
    from ernie_paddle.finetune.training.results import RESULTS

    run_verb(*arguments)
    path = folder / RESULTS
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    found["not_evaluated"] = []
    # What holds for unusable rows of the first development table holds for the others.
    skipping = [word for word in arguments if word in _SKIPPING][-1:]
    for name, table in more_dev.items():
        report = folder / f"{name}.json"
        try:
            run_verb("evaluate", "--model", str(folder), "--data", table, "--output", str(report), *skipping)
        except VerbFailedError:
            # The run itself is good; the log has the reason.
            found["not_evaluated"].append(name)
            continue
        scores = json.loads(report.read_text(encoding="utf-8"))
        for key in ("best", "baseline"):
            more = scores["model" if key == "best" else key]
            found[key].update({f"{metric} {name}": value for metric, value in more.items()})
    _keep_best(folder, found["best"][metric], metric, like)
    return found


def answer(
    folder: Path, like: Mapping[str, Any], metric: str, tests: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Answer tests with the best of a task's runs, those of earlier commands with more seeds or values among them.

    Args:
        folder: gets a file of answers for each test, as `ernie predict` writes them: NAME.jsonl.
        like: settings of the runs that may answer.
        metric: the one that decides.
        tests: by name the `path` of the table and `options` of `ernie predict`.

    Returns:
        `model`: the run that answered; `rows`: by test, how many answers there are.
    """
    scores = _contenders(folder.parent, metric, like)
    if not scores:
        raise UserError("no run of this task came to its end, so nothing can answer its tests")
    best = max(scores, key=scores.__getitem__)
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name, table in tests.items():
        output = folder / f"{name}.jsonl"
        run_verb("predict", "--model", str(best), "--input", table["path"], "--output", str(output), *table["options"])
        with open(output, encoding="utf-8") as lines:
            rows[name] = sum(1 for _ in lines)
    return {"model": str(best), "rows": rows}


def _keep_best(folder: Path, score: float, metric: str, like: Mapping[str, Any]) -> None:
    """Remove the checkpoints of all finished runs but the best: a suite takes hundreds of them."""
    from propeller.run.run_folder import CHECKPOINTS

    scores = {**_contenders(folder.parents[1], metric, like), folder: score}
    best = max(scores, key=scores.__getitem__)
    for loser in scores.keys() - {best}:
        shutil.rmtree(loser / CHECKPOINTS, ignore_errors=True)


def _contenders(task: Path, metric: str, like: Mapping[str, Any]) -> dict[Path, float]:
    """The deciding metric of a task's finished runs that have their checkpoint and these settings, by folder."""
    from propeller.run.run_folder import CHECKPOINTS

    found = {}
    for path in sorted(task.glob(f"{RUN_FOLDERS}/{RESULT}")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if (path.parent / CHECKPOINTS).is_dir() and all(result["settings"].get(key) == like[key] for key in like):
            found[path.parent] = float(result["best"][metric])
    return found
