"""Finished runs of a suite as Markdown: medians over the seeds next to the papers' figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from ernie_paddle.benchmarks.benchmark import Benchmark, option_words
from ernie_paddle.benchmarks.diagnostics import GENDER_PARITY, Diagnosed
from ernie_paddle.benchmarks.plan import SuitePlan, SuiteRun, TaskPlan
from ernie_paddle.benchmarks.suite import Published, Suite
from ernie_paddle.finetune.task_type import task_class
from ernie_paddle.jobs.job import Result

_NAMES = {
    "mcc": "MCC",
    "f1": "F1",
    "accuracy": "acc.",
    "spearman": "Spearman",
    "pearson": "Pearson",
    "exact_match": "EM",
    "mrr": "MRR",
    "map": "MAP",
    "group_exact": "EM",
    "top1": "acc.",
    "top1_f1": "F1",
    GENDER_PARITY: "gender parity",
}
Mean = Callable[[Sequence[float]], float]
"""A mean of the figures of several seeds: the median or the arithmetic mean."""

MEAN = "mean"
_DASH = "–"


def markdown(
    suite: Suite,
    plan: SuitePlan,
    results: Mapping[SuiteRun, Result],
    failures: Mapping[SuiteRun, str],
    *,
    started: str,
    size: str,
    made_by: str,
    left_out: Sequence[str],
    unfinished: int,
    diagnoses: Sequence[Diagnosed] = (),
) -> str:
    """The whole report.

    Args:
        suite: The suite, with the published figures.
        plan: The plan of the command.
        results: Results of finished runs.
        failures: Reasons of failed runs.
        started: Description of the runs' starting point.
        size: Size of the recipes; published figures of this size are shown, those of base for smaller models.
        made_by: The command.
        left_out: Reasons why tasks are missing.
        unfinished: Number of runs still to do.
        diagnoses: Scores of diagnostic sets.
    """
    tasks = [task for task in plan.tasks if _best(task, results)]
    lines = [f"# {suite.title}", "", f"Made by `{made_by}`, from {started}.", ""]
    if tasks:
        shown = "base" if size in ("tiny", "small") else size
        published = [row for row in suite.published if row.size == shown]
        lines += _scores(tasks, published, results)
        lines += [
            "",
            "Figures are in percent. Ours are from the best checkpoint of each run, on the development set or on the "
            "table named in brackets; the rows of papers name their sets. Averages are over the tasks shown.",
        ]
        lines += _diagnostics(diagnoses, published)
        lines += ["", "## Runs", "", *_runs(tasks, results)]
    if unfinished:
        lines += ["", f"Not finished: {unfinished} runs are still to do."]
    gaps = [*left_out, *_not_evaluated(plan, results)]
    if gaps:
        lines += ["", "## Missing tasks", "", *(f"- {reason}" for reason in gaps)]
    if failures:
        titles = {job.key: job.title for group in plan.groups for job in group.jobs}
        lines += ["", "## Runs that failed", "", *(f"- {titles[run]}: {reason}" for run, reason in failures.items())]
    return "\n".join(lines) + "\n"


def figures(task: Benchmark, metrics: Mapping[str, float]) -> str:
    """Format the reported metrics of one run, for a progress line."""
    return ", ".join(f"{_title(name)} {_percent(task, metrics[name]):.1f}" for name in columns(task) if name in metrics)


def columns(task: Benchmark) -> list[str]:
    """The metrics to report, including those of further development tables as "metric name"."""
    return [*task.metrics, *(f"{metric} {name}" for name in list(task.dev)[1:] for metric in task.metrics)]


def _scores(tasks: Sequence[TaskPlan], published: Sequence[Published], results: Mapping[SuiteRun, Result]) -> list[str]:
    found = {task.benchmark.name: _best(task, results) for task in tasks}
    shown = [
        (task.benchmark, metric)
        for task in tasks
        for metric in columns(task.benchmark)
        if any(metric in run["best"] for run in found[task.benchmark.name])
    ]
    head = ["model", *(f"{task.name} {_title(metric)}" for task, metric in shown), "Avg."]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]

    def ours(title: str, of: Mean, spread: bool = False) -> str:
        cells = []
        for task, metric in shown:
            values = [_percent(task, run["best"][metric]) for run in found[task.name] if metric in run["best"]]
            cells.append(_cell(values, of, spread))
        means = [_average(task.benchmark, found[task.benchmark.name], of) for task in tasks]
        return _row([title, *cells, f"{statistics.fmean(means):.1f}" if not spread else _DASH])

    # Tasks of earlier commands may have fewer or more seeds.
    seeds = sorted({len(runs) for runs in found.values()})
    counts = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    lines.append(ours("**ours, one seed**" if seeds == [1] else f"**ours, median of {counts}**", statistics.median))
    if seeds != [1]:
        lines.append(ours("ours, mean ± standard deviation", statistics.fmean, spread=True))
    lines.append(_row(["majority-class baseline", *_baseline(shown, found), _DASH]))
    for row in published:
        known = [_published(row.scores.get(task.name, {}), task, metric) for task, metric in shown]
        average = f"{row.average:.1f} ({row.average_of})" if row.average is not None else _DASH
        lines.append(_row([f"{row.model}, {row.split}", *known, average]))
    return lines


def _diagnostics(diagnoses: Sequence[Diagnosed], published: Sequence[Published]) -> list[str]:
    if not diagnoses:
        return []
    head = ["set", "predicted by", "rows", "skipped", "ours", "published"]
    lines = ["", "## Diagnostic sets", "", _row(head), _row(["---"] * len(head))]
    for found in diagnoses:
        ours = ", ".join(f"{_title(name)} {100 * value:.1f}" for name, value in found.scores.items())
        rows = [f"{count:,}" if found.scores and count else _DASH for count in (found.rows, found.left_out)]
        papers = [
            f"{row.model}, {row.split}: {_title(metric)} {value:.1f}"
            for row in published
            for metric, value in row.scores.get(found.name, {}).items()
        ]
        cells = [
            found.name,
            f"the best run of {found.task}",
            *rows,
            ours or "no labels here",
            "; ".join(papers) or _DASH,
        ]
        lines.append(_row(cells))
    return lines


def _published(scores: Mapping[str, float], task: Benchmark, metric: str) -> str:
    """A paper's figure; a mean over all metrics of a task is in the column of the first."""
    if metric == task.metrics[0] and MEAN in scores:
        return f"{scores[MEAN]:.1f} (mean)"
    return f"{scores[metric]:.1f}" if metric in scores else _DASH


def _baseline(shown: Sequence[tuple[Benchmark, str]], found: Mapping[str, Sequence[Result]]) -> list[str]:
    cells = []
    for task, metric in shown:
        value = found[task.name][0]["baseline"].get(metric)
        cells.append(_DASH if value is None else f"{_percent(task, value):.1f}")
    return cells


def _average(task: Benchmark, runs: Sequence[Result], of: Mean) -> float:
    """A task's own score: the mean of its metrics, as in GLUE."""
    return of([statistics.fmean(_reported(task, run)) for run in runs])


def _reported(task: Benchmark, run: Result) -> list[float]:
    shown = columns(task) if task.average_all else task.metrics
    return [_percent(task, run["best"][metric]) for metric in shown if metric in run["best"]]


def _not_evaluated(plan: SuitePlan, results: Mapping[SuiteRun, Result]) -> list[str]:
    """The further tables on which runs could not be evaluated."""
    found = {
        (run.task, table): plan.folder(run).parents[1] / "log.txt"
        for run, result in results.items()
        for table in result.get("not_evaluated", ())
    }
    return [f"{task}: its table {table} could not be evaluated; see {log}" for (task, table), log in found.items()]


def _runs(tasks: Sequence[TaskPlan], results: Mapping[SuiteRun, Result]) -> list[str]:
    lines = [_row(["task", "recipe", "options", "seeds", "rows evaluated", "skipped", "minutes"]), _row(["---"] * 7)]
    for task in tasks:
        variant = task.best_variant(results)
        every = [results[run] for number in range(len(task.variants)) for run in task.runs(number) if run in results]
        tried = f" (best of {len(task.variants)} by its median)" if len(task.variants) > 1 else ""
        options = " ".join(option_words(task.variants[variant or 0]))
        minutes = sum(result["seconds"] for result in every) / 60
        seeds = ", ".join(map(str, task.seeds))
        rows = f"{every[0]['rows']:,}"
        shown = [f"`{options}`{tried}", seeds, rows, _left_out(every[0]), f"{minutes:.1f}"]
        lines.append(_row([task.benchmark.name, task.recipe, *shown]))
    return lines


def _left_out(run: Result) -> str:
    """The number of unusable rows in the tables."""
    counts = {"to train": run.get("left_out_of_training", 0), "to evaluate": run.get("left_out", 0)}
    return ", ".join(f"{count:,} {of}" for of, count in counts.items() if count) or _DASH


def _best(task: TaskPlan, results: Mapping[SuiteRun, Result]) -> list[Result]:
    """The runs of the best variant; empty while a run is missing."""
    variant = task.best_variant(results)
    return [] if variant is None else [results[run] for run in task.runs(variant)]


def _cell(values: Sequence[float], of: Mean, spread: bool) -> str:
    if not values:
        return _DASH
    shown = f"{of(values):.1f}"
    return f"{shown} ± {statistics.stdev(values):.1f}" if spread and len(values) > 1 else shown


def _percent(task: Benchmark, value: float) -> float:
    return value if task_class(task.type).in_percent else 100 * value


def _title(metric: str) -> str:
    name, _, table = metric.partition(" ")
    return _NAMES.get(name, name) + (f" ({table})" if table else "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
