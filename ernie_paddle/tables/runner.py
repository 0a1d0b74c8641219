"""The runs of a table as jobs: one process per row and seed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ernie_paddle.jobs import child
from ernie_paddle.jobs.job import Group, Job, Result
from ernie_paddle.jobs.runner import JobRunner, one_process
from ernie_paddle.tables import trial
from ernie_paddle.tables.plan import TablePlan, TableRun
from ernie_paddle.tables.sources import Sources, tables_of

_FIGURES = {"mcc", "f1", "accuracy", "spearman", "pearson"}


def table_runner(plan: TablePlan, sources: Sources, output: Path, gpus: str | None = None) -> JobRunner[TableRun]:
    """The runner of a plan's jobs.

    Args:
        plan: The runs.
        sources: Their data.
        output: Folder of the table.
        gpus: Devices that every run uses together, in the format of `fleetrun`; None: one device or the CPU.

    Raises:
        UserError: A run in the folder has other settings.
    """

    def launcher(folder: Path) -> list[str]:
        if gpus is None:
            return one_process(folder)
        devices = ["--gpus", gpus, "--log_dir", str(folder / "ranks")]
        return [sys.executable, "-m", "propeller.tools.fleetrun", *devices, str(child.__file__)]

    return JobRunner(groups_of(plan, sources, output), output, _said, launcher)


def groups_of(plan: TablePlan, sources: Sources, output: Path) -> list[Group[TableRun]]:
    """A group of jobs for each row and seed."""
    return [_group(plan, sources, output, runs) for runs in plan.trials]


def _group(plan: TablePlan, sources: Sources, output: Path, runs: Sequence[TableRun]) -> Group[TableRun]:
    base = next((run for run in runs if run.benchmark is None), None)
    jobs = [
        Job(
            key=run,
            title=run.title,
            kind=run.kind,
            folder=run.folder(output),
            settings=plan.settings(run),
            action=f"{trial.__name__}:{(trial.pretrain if run.benchmark is None else trial.finetune).__name__}",
            arguments=_arguments(plan, sources, output, run),
            needs=None if run.benchmark is None else base,
        )
        for run in runs
    ]
    return Group(runs[0].folder(output).parent, jobs)


def _arguments(plan: TablePlan, sources: Sources, output: Path, run: TableRun) -> Callable[[], dict[str, Any]]:
    """The arguments of the run's function in `trial`."""
    folder = run.folder(output)

    def arguments() -> dict[str, Any]:
        if run.benchmark is None:
            overrides, corpus = plan.overrides(run), str(sources.corpus)
            return {"recipe": plan.recipe_of(run), "overrides": overrides, "corpus": corpus}
        rows = plan.size.finetune.rows
        train, dev = tables_of(run.benchmark, sources.glue, rows, output / "rows")
        pretrained = plan.table.rows[run.row].recipe
        return {
            "options": plan.finetune_options(run, train, dev, sources.vocab, folder),
            "model_of": str(TableRun(run.row, run.seed, None).folder(output)) if pretrained else None,
        }

    return arguments


def _said(job: Job[TableRun], result: Result) -> str:
    figures = _last_losses(result) if "stages" in result else result["best"]
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if _is_told(name))


def _is_told(name: str) -> bool:
    return name in _FIGURES or name.endswith("loss")


def _last_losses(result: Result) -> dict[str, float]:
    """The losses of a run's last evaluation, by task."""
    last = max((line["step"] for line in result["evaluations"]), default=0)
    return {f"{line['name']} loss": line["metrics"]["loss"] for line in result["evaluations"] if line["step"] == last}
