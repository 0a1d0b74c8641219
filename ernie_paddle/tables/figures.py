"""The figures of a table, from the results of its runs: means over seeds, spreads, curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.jobs.job import Result
from ernie_paddle.objectives.registry import registry
from ernie_paddle.objectives.shared.masked_lm import MaskedLM
from ernie_paddle.tables.plan import TablePlan, TableRun


@dataclass(frozen=True)
class Figure:
    """A figure over seeds: mean and standard deviation (n - 1; None for one seed)."""

    mean: float
    spread: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure | None:
        """The figure of these values; None without values."""
        if not values:
            return None
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def text(self, digits: int) -> str:
        """Mean and spread as the text of a cell."""
        return f"{self.mean:.{digits}f}" + ("" if self.spread is None else f" ± {self.spread:.{digits}f}")


@dataclass(frozen=True)
class Figures:
    """The figures computed from the results of a plan's runs."""

    plan: TablePlan
    results: Mapping[TableRun, Result]

    # ------------------------------------------------------------------------------------------------ pre-training

    def tasks(self) -> list[str]:
        """All tasks that are pre-trained, in the order of the recipes."""
        return list(dict.fromkeys(task for result in self.results.values() for task in result.get("tasks", ())))

    def curve(self, row: str, seed: int, task: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a task's held-out metric; empty without such a metric."""
        result = self.results.get(TableRun(row, seed, None), {"evaluations": []})
        lines = [line for line in result["evaluations"] if line["name"] == task and metric in line["metrics"]]
        return [(line["step"], line["metrics"][metric]) for line in lines]

    def accuracy_of(self, task: str) -> str | None:
        """The name of the accuracy of the objective after which a task is named, if it has one.

        A loss is named after its objective, except that knowledge masking shares the name of mlm.
        """
        objective = registry().get(task)
        names = [task, *(["mlm"] if objective and issubclass(objective, MaskedLM) else [])]
        runs = [(row, seed) for row in self.plan.table.rows for seed in self.plan.seeds]
        found = (f"{name}_accuracy" for name in names)
        return next((name for name in found if any(self.curve(*run, task, name) for run in runs)), None)

    def at_end(self, row: str, task: str, metric: str, factor: float = 1.0) -> Figure | None:
        """A held-out metric after the last step, times a factor."""
        curves = [self.curve(row, seed, task, metric) for seed in self.plan.seeds]
        return Figure.of([factor * curve[-1][1] for curve in curves if curve])

    def rise(self, row: str, task: str) -> Figure | None:
        """Forgetting: a held-out loss after the last step minus its lowest value."""
        curves = [self.curve(row, seed, task, "loss") for seed in self.plan.seeds]
        return Figure.of([curve[-1][1] - min(value for _, value in curve) for curve in curves if curve])

    def mlm_loss(self, row: str) -> Figure | None:
        """Held-out loss of masked language modelling after the last step, in the row's first task that has it."""
        found = []
        for seed in self.plan.seeds:
            curves = [self.curve(row, seed, task, "mlm") for task in self.tasks()]
            found += [curve[-1][1] for curve in curves if curve][:1]
        return Figure.of(found)

    # -------------------------------------------------------------------------------------------------- fine-tuning

    def score(self, row: str, benchmark: Benchmark, metric: str) -> Figure | None:
        """A metric of a benchmark's development set, times 100."""
        found = [self.results.get(TableRun(row, seed, benchmark)) for seed in self.plan.seeds]
        return Figure.of([100 * result["best"][metric] for result in found if result])

    def averages(self, row: str) -> list[float]:
        """For each seed with all benchmarks: the mean over benchmarks of the mean over metrics (as in GLUE)."""
        found = []
        for seed in self.plan.seeds:
            results = [self.results.get(TableRun(row, seed, benchmark)) for benchmark in self.plan.benchmarks]
            pairs = zip(results, self.plan.benchmarks, strict=True)
            means = [statistics.fmean(run["best"][name] for name in item.metrics) for run, item in pairs if run]
            if means and len(means) == len(results):
                found.append(100 * statistics.fmean(means))
        return found

    def sigma(self) -> float | None:
        """The standard deviation of an average over seeds, pooled over all rows; None without several seeds."""
        groups = [group for row in self.plan.table.rows if (group := self.averages(row))]
        freedom = sum(len(group) - 1 for group in groups)
        if freedom == 0:
            return None
        squares = sum((value - statistics.fmean(group)) ** 2 for group in groups for value in group)
        return math.sqrt(squares / freedom)

    def without_input(self, benchmark: Benchmark, metric: str) -> Figure | None:
        """A metric of the majority-class (or mean) baseline, times 100."""
        found = [result["baseline"] for run, result in self.results.items() if run.benchmark == benchmark]
        return Figure.of([100 * baseline.get(metric, 0.0) for baseline in found[:1]])
