"""The runs that a table takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.finetune.options import read_finetune_options
from ernie_paddle.pretraining.recipe_files import load_recipe
from ernie_paddle.tables.plan import TablePlan, TableRun, load_size, load_table, size_names, table_names
from propeller.errors import UserError

GLUE = load_suite("glue").benchmarks


def plan(name: str, size: str = "tiny", steps: int | None = 40, rows: list[str] | None = None) -> TablePlan:
    benchmarks = [GLUE["CoLA"], GLUE["STS-B"]]
    return TablePlan(name, load_table(name, rows), load_size(size), size, steps, range(2), benchmarks)


def test_every_row_is_run_once_per_seed() -> None:
    trials = plan("ernie2").trials
    runs = [(run.row, run.seed, run.kind) for trial in trials for run in trial]
    assert len(runs) == len(set(runs)) == 2 * (3 * 3 + 2)  # three methods, and two fine-tunings without pre-training
    assert [trial[0].seed for trial in trials] == [0] * 4 + [1] * 4
    for trial in trials:
        kinds = [run.kind for run in trial]
        assert kinds == (["CoLA", "STS-B"] if trial[0].row == "random" else ["pre-training", "CoLA", "STS-B"])


def test_methods_differ_in_the_order_of_equal_amounts() -> None:
    from ernie_paddle.pretraining.schedule.plan import make_plan

    made = plan("ernie2")
    schedules = {}
    for row in ("sequential", "multi_task", "cmtl"):
        recipe = load_recipe("ernie2_methods", made.overrides(TableRun(row, 1, None)), ["corpus"])
        assert recipe.train.seed == 1
        schedules[row] = make_plan(recipe).schedule
    tasks = list(recipe.tasks)
    for schedule in schedules.values():
        assert [sum(stage.get(task, 0) for stage in schedule.table()) for task in tasks] == [10] * 4
    assert [len(schedules[row].table()) for row in schedules] == [4, 1, 4]
    assert schedules["sequential"].table() == [{task: 10} for task in tasks]
    assert schedules["cmtl"].table()[1] == {tasks[0]: 2, tasks[1]: 6}  # 1/5 and 3/5 of ten


@pytest.mark.parametrize("name", table_names())
@pytest.mark.parametrize("size", size_names())
def test_every_row_of_every_table_is_a_recipe_at_every_size(name: str, size: str) -> None:
    made = plan(name, size, load_size(size).steps.get(name))
    for row, described in made.table.rows.items():
        if described.recipe:
            recipe = load_recipe(described.recipe, made.overrides(TableRun(row, 0, None)), ["corpus"])
            assert recipe.data.corpora[0].path == "corpus"
            if size != "base":
                assert recipe.schedule.total_steps == made.steps
                assert recipe.train.learning_rate.warmup_steps < made.steps / 10


def test_full_size_is_as_the_papers_have_it() -> None:
    made = plan("ernie2", "base", steps=None)
    recipe = load_recipe("ernie2_methods", made.overrides(TableRun("cmtl", 0, None)), ["corpus"])
    assert recipe.train.batch_tokens == 393_216
    assert recipe.train.learning_rate.warmup_steps == 4000
    assert (recipe.train.learning_rate.kind, recipe.train.learning_rate.per) == ("noam", "task")
    assert recipe.arch["num_hidden_layers"] == 12


def test_arguments_of_runs(tmp_path: Path) -> None:
    made = plan("ernie2")
    tuning = TableRun("cmtl", 1, GLUE["CoLA"])
    options = made.finetune_options(tuning, tmp_path / "t.tsv", tmp_path / "d.tsv", tmp_path / "v", tmp_path / "out")
    assert (options["metric"], options["seed"], options["header"]) == ("mcc", 1, False)
    assert not {"rows", "size"} & options.keys()
    read_finetune_options(options)  # refuses what is none of its options
    fresh = TableRun("random", 1, GLUE["CoLA"])
    options = made.finetune_options(fresh, tmp_path / "t.tsv", tmp_path / "d.tsv", tmp_path / "v", tmp_path / "out")
    assert (options["size"], options["vocab"]) == ("quickstart", str(tmp_path / "v"))


def test_some_rows(tmp_path: Path) -> None:
    assert list(load_table("ernie2", ["cmtl", "sequential"]).rows) == ["sequential", "cmtl"]
    with pytest.raises(UserError, match="did you mean 'sequential'"):
        load_table("ernie2", ["sequentiel"])
    with pytest.raises(UserError, match="unknown table 'ernie3'; did you mean 'ernie2'"):
        load_table("ernie3")
    with pytest.raises(UserError, match="unknown size"):
        load_size("huge")
    own = tmp_path / "size.yaml"
    own.write_text("vocab_size: 10\nfinetune: {epochs: 1, batch_size: 2, lr: 0.1, max_length: 8}\nstep: {}\n")
    with pytest.raises(UserError, match=r"size\.yaml: unknown key 'step'; did you mean 'steps'"):
        load_size(str(own))
