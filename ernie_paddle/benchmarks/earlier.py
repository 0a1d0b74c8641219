"""What earlier commands finished for other tasks of a suite in the same folder: it stays in report and submission."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ernie_paddle.benchmarks.plan import SuitePlan, SuiteRun, TaskPlan
from ernie_paddle.benchmarks.suite import Suite
from ernie_paddle.jobs.job import Group, Result
from ernie_paddle.jobs.runner import JobRunner
from propeller.errors import UserError

PLAN = "plan.json"


@dataclass(frozen=True)
class Earlier:
    """Tasks that other commands did.

    Attributes:
        tasks: how each was done; its options and seeds may be other ones than those of the command that asks.
        results: of their finished runs.
        passed_over: why others do not count.
    """

    tasks: list[TaskPlan] = field(default_factory=list)
    results: dict[SuiteRun, Result] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)


def remember(plan: SuitePlan) -> None:
    """Write down how the tasks of a plan are done, for commands that come later."""
    for task in plan.tasks:
        folder = plan.task_folder(task.benchmark)
        folder.mkdir(parents=True, exist_ok=True)
        done = {"recipe": task.recipe, "variants": [dict(options) for options in task.variants], "seeds": [*task.seeds]}
        aside = folder / f".tmp-{PLAN}"
        aside.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        aside.replace(folder / PLAN)


def earlier_tasks(suite: Suite, plan: SuitePlan) -> Earlier:
    """The tasks of a suite that are not in a plan, but were done in its folder from the same start on the same data."""
    found, now = Earlier(), {task.benchmark.name for task in plan.tasks}
    for benchmark in suite.benchmarks.values():
        path = plan.task_folder(benchmark) / PLAN
        if benchmark.name in now or not path.is_file():
            continue
        try:
            done: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            task = TaskPlan(benchmark, done["recipe"], done["variants"], done["seeds"])
        except (ValueError, KeyError, TypeError):
            found.passed_over.append(f"{benchmark.name}: what an earlier command did does not count: {path} is damaged")
            continue
        try:
            results = _results(replace(plan, tasks=[task]))
        except UserError as error:
            found.passed_over.append(f"{benchmark.name}: what an earlier command did does not count: {error}")
            continue
        if results:
            found.tasks.append(task)
            found.results.update(results)
        else:
            found.passed_over.append(
                f"{benchmark.name}: what an earlier command did does not count: nothing of it was finished from this "
                "model and on these tables"
            )
    return found


def _results(plan: SuitePlan) -> Mapping[SuiteRun, Result]:
    """The results in the output folder that were made as the plan says; others are passed over.

    Raises:
        UserError: a table is not there.
    """
    groups: Sequence[Group[SuiteRun]] = [
        Group(group.folder, [replace(job, renewed=True) for job in group.jobs]) for group in plan.groups
    ]
    return JobRunner(groups, plan.output, lambda job, result: "").results
