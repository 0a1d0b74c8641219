"""Results of earlier commands for other tasks of a suite in the same folder, which stay in report and submission."""

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
    """Tasks that earlier commands ran.

    Attributes:
        tasks: Plans of the tasks; their options and seeds may differ from those of the current command.
        results: Results of their finished runs.
        passed_over: Reasons why other tasks are not included.
    """

    tasks: list[TaskPlan] = field(default_factory=list)
    results: dict[SuiteRun, Result] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)


def remember(plan: SuitePlan) -> None:
    """Record the plans of the tasks, for later commands."""
    for task in plan.tasks:
        folder = plan.task_folder(task.benchmark)
        folder.mkdir(parents=True, exist_ok=True)
        done = {"recipe": task.recipe, "variants": [dict(options) for options in task.variants], "seeds": [*task.seeds]}
        aside = folder / f".tmp-{PLAN}"
        aside.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        aside.replace(folder / PLAN)


def earlier_tasks(suite: Suite, plan: SuitePlan) -> Earlier:
    """The tasks of a suite that are not in a plan, but were run in its folder from the same start on the same data."""
    found, now = Earlier(), {task.benchmark.name for task in plan.tasks}
    for benchmark in suite.benchmarks.values():
        path = plan.task_folder(benchmark) / PLAN
        if benchmark.name in now or not path.is_file():
            continue
        try:
            done: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            task = TaskPlan(benchmark, done["recipe"], done["variants"], done["seeds"])
        except (ValueError, KeyError, TypeError):
            found.passed_over.append(f"{benchmark.name}: results of an earlier command are ignored: {path} is damaged")
            continue
        try:
            results = _results(replace(plan, tasks=[task]))
        except UserError as error:
            found.passed_over.append(f"{benchmark.name}: results of an earlier command are ignored: {error}")
            continue
        if results:
            found.tasks.append(task)
            found.results.update(results)
        else:
            found.passed_over.append(
                f"{benchmark.name}: results of an earlier command are ignored: it finished no run from this "
                "model and on these tables"
            )
    return found


def _results(plan: SuitePlan) -> Mapping[SuiteRun, Result]:
    """The results in the output folder that match the plan; others are ignored.

    Raises:
        UserError: A table is missing.
    """
    groups: Sequence[Group[SuiteRun]] = [
        Group(group.folder, [replace(job, renewed=True) for job in group.jobs]) for group in plan.groups
    ]
    return JobRunner(groups, plan.output, lambda job, result: "").results
