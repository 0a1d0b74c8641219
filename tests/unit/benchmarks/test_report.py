"""The report of a suite: medians, spreads, what looks at no input, the papers' rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ernie_paddle.benchmarks.plan import SuitePlan, SuiteRun, TaskPlan
from ernie_paddle.benchmarks.report import columns, markdown
from ernie_paddle.benchmarks.starting import StartingPoint
from ernie_paddle.benchmarks.suite import load_suite

SUITE = load_suite("glue")


def result(**metrics: float) -> dict[str, Any]:
    return {"best": metrics, "baseline": {"f1": 0.8, "accuracy": 0.7}, "rows": 408, "seconds": 60.0, "settings": {}}


def plan(variants: list[dict[str, Any]]) -> SuitePlan:
    tasks = [TaskPlan(SUITE.benchmarks["MRPC"], "bert", variants, range(3))]
    return SuitePlan(tasks, Path("data"), Path("out"), StartingPoint({}, "sha256:0", "base", "a model", False))


def cells(text: str, beginning: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {beginning}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def report(made: SuitePlan, results: dict[SuiteRun, Any], size: str = "base", unfinished: int = 0) -> str:
    said = {"started": "a model", "size": size, "made_by": "this"}
    return markdown(SUITE, made, results, {}, **said, left_out=["RTE: not there"], unfinished=unfinished)


def test_median_mean_and_spread() -> None:
    made = plan([{"lr": 1e-5}])
    scores = [(0.8, 0.7), (0.9, 0.6), (0.84, 0.8)]
    results = {SuiteRun("MRPC", 0, seed): result(f1=f1, accuracy=acc) for seed, (f1, acc) in enumerate(scores)}
    text = report(made, results)
    # The median of F1 and of accuracy are those of different seeds; the average is that of the seeds' own means.
    assert cells(text, "**ours, median of 3") == ["**ours, median of 3**", "84.0", "70.0", "75.0"]
    assert cells(text, "ours, mean")[1:] == ["84.7 ± 5.0", "70.0 ± 10.0", "–"]
    assert cells(text, "majority-class baseline")[1:] == ["80.0", "70.0", "–"]
    assert cells(text, "ERNIE 2.0 base, test")[1:] == ["89.9", "86.1", "80.6 (official GLUE score)"]
    assert "ERNIE 2.0 large" not in text
    assert "- RTE: not there" in text
    assert "Not finished" not in text
    assert cells(text, "MRPC | bert")[4:] == ["408", "–", "3.0"]
    results[SuiteRun("MRPC", 0, 0)] |= {"left_out_of_training": 1200, "left_out": 3}
    assert cells(report(made, results), "MRPC | bert")[5] == "1,200 to train, 3 to evaluate"
    assert "ERNIE 2.0 large, dev, median of 5 | – | 89.7" in report(made, results, "large")
    assert "ERNIE 2.0 base, test" in report(made, results, "tiny")


def test_tasks_with_different_numbers_of_seeds() -> None:
    tasks = [TaskPlan(SUITE.benchmarks[name], "bert", [{}], range(n)) for name, n in (("MRPC", 3), ("RTE", 1))]
    made = SuitePlan(tasks, Path("data"), Path("out"), StartingPoint({}, "sha256:0", "base", "a model", False))
    results = {run: result(f1=0.5, accuracy=0.5) for task in tasks for run in task.runs(0)}
    assert "| **ours, median of 1 to 3** |" in report(made, results)
    del tasks[0]
    assert "| **ours, one seed** |" in report(made, results)


def test_the_variant_with_the_best_median_is_shown() -> None:
    made = plan([{"lr": 1e-5}, {"lr": 2e-5}])
    results = {}
    for variant, scores in enumerate([(0.95, 0.5, 0.5), (0.7, 0.8, 0.6)]):
        for seed, f1 in enumerate(scores):
            results[SuiteRun("MRPC", variant, seed)] = result(f1=f1, accuracy=0.5)
    text = report(made, results)
    assert cells(text, "**ours")[1] == "70.0"
    assert "`--lr 2e-05` (best of 2 by its median)" in text
    del results[SuiteRun("MRPC", 0, 2)]
    assert "**ours" not in report(made, results)
    assert "Not finished: 1 runs" in report(made, results, unfinished=1)


def test_further_tables() -> None:
    mnli = SUITE.benchmarks["MNLI"]
    assert columns(mnli) == ["accuracy", "accuracy mismatched"]
    chinese = load_suite("chinese").benchmarks["LCQMC"]
    start = StartingPoint({}, "sha256:0", "base", "a model", False)
    scores = {"accuracy": 0.9, "accuracy mismatched": 0.8, "accuracy test": 0.5}
    found = {"best": scores, "baseline": {"accuracy": 0.5}, "rows": 5, "seconds": 1.0, "not_evaluated": ["trial"]}
    averages = {}
    for task in (mnli, chinese):
        made = SuitePlan([TaskPlan(task, "ernie2", [{}], [0])], Path("data"), Path("out"), start)
        text = report(made, {SuiteRun(task.name, 0, 0): found})
        averages[task.name] = cells(text, "**ours")[-1]
        assert f"- {task.name}: its table trial could not be evaluated; see out/runs/{task.name}/log.txt" in text
    # GLUE's score of MNLI is the mean over both tables; a test table never counts.
    assert averages == {"MNLI": "85.0", "LCQMC": "90.0"}
