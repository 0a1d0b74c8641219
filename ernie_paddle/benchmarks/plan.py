"""The jobs of a suite: every task is fine-tuned once per variant and seed, then its tests are predicted."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ernie_paddle.benchmarks import actions
from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.benchmarks.starting import StartingPoint
from ernie_paddle.benchmarks.suite import Suite, variants
from ernie_paddle.jobs.job import Group, Job, Result
from propeller.run.checkpoint import sha256_file

ANSWERS = "answers"


@dataclass(frozen=True)
class SuiteRun:
    """One fine-tuning run, or (if `seed` is None) the predictions for a task's tests."""

    task: str
    variant: int = 0
    seed: int | None = None


@dataclass(frozen=True)
class TaskPlan:
    """One task of a suite.

    Attributes:
        benchmark: The task.
        recipe: Name of the recipe.
        variants: Options of the recipe, one set for each combination of values to try.
        seeds: Seeds of the runs of every variant.
    """

    benchmark: Benchmark
    recipe: str
    variants: Sequence[Mapping[str, Any]]
    seeds: Sequence[int]

    def runs(self, variant: int) -> list[SuiteRun]:
        """The runs of a variant."""
        return [SuiteRun(self.benchmark.name, variant, seed) for seed in self.seeds]

    def best_variant(self, results: Mapping[SuiteRun, Result]) -> int | None:
        """The variant whose median over seeds of the deciding metric is highest; None while a run is missing."""
        medians = []
        for variant in range(len(self.variants)):
            found = [results[run]["best"] for run in self.runs(variant) if run in results]
            if len(found) < len(self.seeds):
                return None
            medians.append(statistics.median(metrics[self.benchmark.metrics[0]] for metrics in found))
        return max(range(len(medians)), key=medians.__getitem__)


def task_plan(
    suite: Suite,
    task: Benchmark,
    start: StartingPoint,
    recipe: str | None,
    changes: Mapping[str, Any],
    seeds: int,
) -> TaskPlan:
    """The plan of a task: the recipe for the size of the starting point, with some options changed.

    Raises:
        UserError: There is no such recipe, or none for this size.
    """
    name, settings = suite.settings(task.name, start.size, recipe)
    settings = {**settings, **changes}
    if not start.has_task_ids:
        settings.pop("task_id", None)
    return TaskPlan(task, name, variants(settings), range(seeds))


@dataclass(frozen=True)
class SuitePlan:
    """All runs of a suite.

    Attributes:
        tasks: Plans of the available tasks.
        data_dir: Folder of the benchmarks.
        output: Folder of all results.
        start: Starting point of all runs.
    """

    tasks: Sequence[TaskPlan]
    data_dir: Path
    output: Path
    start: StartingPoint

    @cached_property
    def groups(self) -> list[Group[SuiteRun]]:
        """The jobs, a group for each task."""
        return [self._group(task) for task in self.tasks]

    def task_folder(self, task: Benchmark) -> Path:
        """The folder of all runs of a task."""
        return self.output / "runs" / task.name

    def folder(self, run: SuiteRun) -> Path:
        """The folder of a run."""
        place = ANSWERS if run.seed is None else f"variant-{run.variant}/seed-{run.seed}"
        return self.output / "runs" / run.task / place

    def _group(self, plan: TaskPlan) -> Group[SuiteRun]:
        task = plan.benchmark
        runs = [run for variant in range(len(plan.variants)) for run in plan.runs(variant)]
        train, dev = task.tables(self.data_dir)
        data = _fingerprints({"train": train, "dev": dev, **task.more_dev(self.data_dir)})
        like = {"start": self.start.identity, "task": task.options, "data": data}
        jobs = [self._tuning(plan, run, like) for run in runs]
        tests = {name: path for name, path in task.tests(self.data_dir).items() if path}
        if tests:
            jobs.append(self._answering(plan, like, tests))
        return Group(self.task_folder(task), jobs)

    def _tuning(self, plan: TaskPlan, run: SuiteRun, like: Mapping[str, Any]) -> Job[SuiteRun]:
        task, options = plan.benchmark, plan.variants[run.variant]
        shown = f", {_searched(plan, run.variant)}" if len(plan.variants) > 1 else ""
        return Job(
            key=run,
            title=f"{task.name}{shown}, seed {run.seed}",
            kind=task.name,
            folder=self.folder(run),
            settings={**like, "recipe": plan.recipe, "options": dict(options)},
            action=f"{actions.__name__}:{actions.finetune.__name__}",
            arguments=self._tuning_arguments(task, run, options, like),
        )

    def _tuning_arguments(
        self, task: Benchmark, run: SuiteRun, options: Mapping[str, Any], like: Mapping[str, Any]
    ) -> Callable[[], dict[str, Any]]:
        def arguments() -> dict[str, Any]:
            train, dev = task.tables(self.data_dir)
            tables = {**task.as_in(train).settings(), "train": train, "dev": dev}
            own = {**self.start.options, **options, "seed": run.seed, "output": self.folder(run)}
            return {
                "options": plain({**tables, **own}),
                "more_dev": {name: str(path) for name, path in task.more_dev(self.data_dir).items()},
                "metric": task.metrics[0],
                "like": like,
            }

        return arguments

    def _answering(self, plan: TaskPlan, like: Mapping[str, Any], tests: Mapping[str, Path]) -> Job[SuiteRun]:
        task = plan.benchmark
        run = SuiteRun(task.name)
        tables = {name: {"path": str(path), "options": plain(task.test[name].options)} for name, path in tests.items()}
        settings: dict[str, Any] = {"start": self.start.identity, "recipe": plan.recipe, "tests": _fingerprints(tests)}
        settings |= {"seeds": list(plan.seeds), "options": [dict(options) for options in plan.variants]}
        arguments = {"like": like, "metric": task.metrics[0], "tests": tables}
        return Job(
            key=run,
            title=f"{task.name}, answers",
            kind=ANSWERS,
            folder=self.folder(run),
            settings=settings,
            action=f"{actions.__name__}:{actions.answer.__name__}",
            arguments=lambda: arguments,
            renewed=True,
        )


def answer_paths(plan: SuitePlan, results: Mapping[SuiteRun, Result]) -> list[Path]:
    """The files with the predictions for the tests of a plan's tasks, as far as they exist."""
    answered = [SuiteRun(task.benchmark.name) for task in plan.tasks]
    return [plan.folder(run) / f"{name}.jsonl" for run in answered if run in results for name in results[run]["rows"]]


def _fingerprints(tables: Mapping[str, Path]) -> dict[str, str]:
    """Hashes of the content of tables, by name."""
    return {name: sha256_file(path)[:16] for name, path in tables.items()}


def _searched(plan: TaskPlan, variant: int) -> str:
    """The settings in which the variants differ."""
    options = plan.variants[variant]
    names = [name for name in options if len({str(other[name]) for other in plan.variants}) > 1]
    return ", ".join(f"{name} {options[name]}" for name in names)


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON-able data; removed options (None) are omitted."""
    found = {name: value for name, value in options.items() if value is not None}
    return {name: str(value) if isinstance(value, Path) else value for name, value in found.items()}
