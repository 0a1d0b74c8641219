"""The figures of a table against NumPy, and what the Markdown says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.tables.figures import Figure, Figures
from ernie_paddle.tables.plan import FinetuneSettings, Row, SizeConfig, TableConfig, TablePlan, TableRun
from ernie_paddle.tables.report import markdown
from helpers.objective_corpora import Documents, in_memory

GLUE = load_suite("glue").benchmarks

BENCHMARKS = [GLUE["CoLA"], GLUE["MRPC"]]
SEEDS = range(3)
ROWS = {"mlm": Row("MLM", "r", paper=78.8), "good": Row("MLM + good", "r", paper=80.3), "bad": Row("MLM + bad", "r")}


def plan(**changes: Any) -> TablePlan:
    settings = {"title": "A table", "rows": ROWS, "benchmarks": [], "arch": "tiny", "warmup": 0.1, "baseline": "mlm"}
    table = TableConfig(**{**settings, **changes})
    size = SizeConfig(100, FinetuneSettings(1, 32, 1e-4, 64))
    return TablePlan("t", table, size, "tiny", 8, SEEDS, BENCHMARKS)


def evaluation(step: int, name: str, loss: float, **more: float) -> dict[str, Any]:
    return {"step": step, "name": name, "metrics": {"loss": loss, **more}}


def pretrained(losses: list[float]) -> dict[str, Any]:
    """One task, with these losses after steps 4, 8, …"""
    lines = [
        evaluation(4 * i, "mlm", loss, mlm=loss, mlm_accuracy=1 / (i + 1)) for i, loss in enumerate(losses, start=1)
    ]
    lines.append(evaluation(4 * len(losses), "all_tasks", 1.0))
    return {"tasks": ["mlm"], "stages": [{"mlm": 8}], "steps": 8, "seconds": 60.0, "evaluations": lines}


def tuned(benchmark: Benchmark, values: list[float]) -> dict[str, Any]:
    return {
        "best": dict(zip(benchmark.metrics, values, strict=True)),
        "baseline": dict.fromkeys(benchmark.metrics, 0.25),
        "seconds": 60.0,
    }


@pytest.fixture
def results() -> dict[TableRun, Any]:
    rng = np.random.default_rng(0)
    found: dict[TableRun, Any] = {}
    for row, level in (("mlm", 0.4), ("good", 0.6), ("bad", 0.39)):
        for seed in SEEDS:
            found[TableRun(row, seed, None)] = pretrained([5.0 - level, 6.0 - level + 0.01 * seed])
            for benchmark in BENCHMARKS:
                values = level + 0.01 * rng.standard_normal(len(benchmark.metrics))
                found[TableRun(row, seed, benchmark)] = tuned(benchmark, values.tolist())
    return found


def test_means_and_spreads_equal_numpy(results: dict[TableRun, Any]) -> None:
    figures = Figures(plan(), results)
    cola = np.array([results[TableRun("good", seed, GLUE["CoLA"])]["best"]["mcc"] for seed in SEEDS])
    mrpc = np.array([list(results[TableRun("good", seed, GLUE["MRPC"])]["best"].values()) for seed in SEEDS])
    score = figures.score("good", GLUE["CoLA"], "mcc")
    assert score is not None
    np.testing.assert_allclose([score.mean, score.spread], [100 * cola.mean(), 100 * cola.std(ddof=1)])
    # GLUE: the mean of the tasks' means over their metrics, not the mean of all numbers.
    np.testing.assert_allclose(figures.averages("good"), 100 * (cola + mrpc.mean(axis=1)) / 2)
    variances = [np.var(figures.averages(row), ddof=1) for row in ROWS]
    sigma = figures.sigma()
    assert sigma is not None
    np.testing.assert_allclose(sigma, np.sqrt(np.mean(variances)))
    end, rise = figures.at_end("mlm", "mlm", "loss"), figures.rise("mlm", "mlm")
    assert end is not None
    assert rise is not None
    np.testing.assert_allclose([end.mean, end.spread], [np.mean([5.6, 5.61, 5.62]), np.std([5.6, 5.61, 5.62], ddof=1)])
    np.testing.assert_allclose(rise.mean, np.mean([1.0, 1.01, 1.02]))


def test_a_seed_that_lacks_a_benchmark_has_no_average(results: dict[TableRun, Any]) -> None:
    del results[TableRun("mlm", 1, GLUE["MRPC"])]
    figures = Figures(plan(), results)
    assert len(figures.averages("mlm")) == 2
    assert Figure.of([3.0]) == Figure(3.0, None)
    assert Figure.of([]) is None


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def row_of(text: str, title: str) -> list[str]:
    return next(cells(line) for line in text.splitlines() if line.startswith(f"| {title} |"))


def test_best_is_underlined_and_clear_gains_are_bold(results: dict[TableRun, Any]) -> None:
    text = markdown(plan(), results, {}, "command", None)
    head = next(cells(line) for line in text.splitlines() if line.startswith("| pre-training"))
    losses, cola, f1, accuracy, average, paper = range(1, 7)
    assert head[1:] == ["held-out MLM loss", "CoLA MCC", "MRPC F1", "MRPC acc.", "Avg.", "Avg. in the paper"]
    good, mlm, bad = row_of(text, "MLM + good"), row_of(text, "MLM"), row_of(text, "MLM + bad")
    assert good[losses] == "<u>5.410 ± 0.010</u>"
    assert mlm[losses] == "5.610 ± 0.010"
    assert all(good[column].startswith("<u>") for column in (cola, f1, accuracy))
    assert good[average].startswith("**<u>")
    assert "**" not in mlm[average] + bad[average]
    assert (mlm[paper], bad[paper]) == ("78.8", "–")
    assert row_of(text, "majority class, mean score")[cola : average + 1] == ["25.0", "25.0", "25.0", "–"]
    assert "σ = " in text
    assert "27 runs, 27 minutes in total" in text


def test_a_gain_within_two_deviations_is_not_bold(results: dict[TableRun, Any]) -> None:
    figures = Figures(plan(), results)
    sigma, base = figures.sigma(), np.mean(figures.averages("mlm"))
    assert sigma is not None
    for factor, bold in ((1.5, False), (2.5, True)):
        shift = (base + factor * sigma - np.mean(figures.averages("bad"))) / 100
        moved = dict(results)
        for seed in SEEDS:
            for benchmark in BENCHMARKS:
                run = TableRun("bad", seed, benchmark)
                best = {name: value + shift for name, value in results[run]["best"].items()}
                moved[run] = {**results[run], "best": best}
        assert ("**" in row_of(markdown(plan(), moved, {}, "c", None), "MLM + bad")[5]) == bold


def test_failures_and_missing_runs_are_named(results: dict[TableRun, Any]) -> None:
    failed = TableRun("bad", 2, GLUE["MRPC"])
    for run in (failed, TableRun("bad", 1, GLUE["MRPC"])):
        del results[run]
    text = markdown(plan(), results, {failed: "it broke"}, "command", None)
    assert "- bad, seed 2, MRPC: it broke" in text
    assert "Not finished: 1 runs" in text


def test_parts_and_curves(results: dict[TableRun, Any]) -> None:
    rows = {"mlm": ROWS["mlm"], "good": Row("MLM + good", "r", parts=["2"])}
    text = markdown(plan(rows=rows, parts={"1": "Table 1", "2": "Table 2"}), results, {}, "command", None)
    first, second = text.split("## Table 2")
    assert "| MLM + good |" in second
    assert "| MLM + good |" not in first
    text = markdown(plan(curves=True), results, {}, "command", "c.png")
    assert "![Held-out metrics over the steps](c.png)" in text
    assert cells(text.split("## Held-out text")[1].splitlines()[2]) == ["method", "mlm loss", "acc. (%)"]
    assert row_of(text, "MLM")[1:] == ["5.610 ± 0.010", "<u>33.3 ± 0.0</u>"]
    assert row_of(text.split("Forgetting")[1], "MLM")[1] == "<u>1.010 ± 0.010</u>"


def test_every_accuracy_goes_by_the_name_that_the_loss_of_its_objective_has() -> None:
    """The objectives of ERNIE 2.0's Table 7, and others: an accuracy is found where the term of a loss has hits."""
    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.objectives.registry import make_objective
    from ernie_paddle.pretraining.model import build_task
    from ernie_paddle.pretraining.recipe_files import load_recipe
    from propeller.graph.optim import OptimizerConfig
    from propeller.learner import Learner

    config = ErnieConfig(
        vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=16,
        type_vocab_size=6, use_task_id=False,
    )  # fmt: skip
    data = in_memory(Documents([[3, 4]], 1), max_length=16, overhead=2)
    learner, without = Learner(OptimizerConfig(), seed=0), set()
    for name in [*load_recipe("ernie2_methods", corpora=["corpus"]).tasks, "mlm", "sbo", "tf"]:
        learner.add(build_task(name, [make_objective(name).with_data(data)], config, max_length=16))
        terms = learner.program(name, "eval").terms
        assert terms is not None
        ((term, has_hits),) = zip(terms.names, terms.has_hits, strict=True)
        accuracy = f"{term}_accuracy" if has_hits else None
        measured = {"loss": 1.0, "other_accuracy": 0.5, **({accuracy: 0.25} if accuracy else {})}
        result = {"tasks": [name], "evaluations": [{"step": 8, "name": name, "metrics": measured}]}
        figures = Figures(plan(), {TableRun("mlm", 0, None): result})
        assert figures.accuracy_of(name) == accuracy
        without |= set() if accuracy else {name}
    assert without == {"tf"}
