"""Kinds of schedules: what they train at which step, against the sentences of the papers; sums of tasks share rows."""

from __future__ import annotations

from typing import Any

import pytest

from ernie_paddle.pretraining.recipe import SCHEDULES, Recipe
from ernie_paddle.pretraining.schedule.plan import KINDS, TrainingPlan, make_plan
from ernie_paddle.pretraining.schedule.task_sums import sum_tasks
from propeller.errors import UserError
from propeller.settings import from_mapping

ON_LOSSES = {
    "mlm": {"objectives": {"mlm": {}}, "task_id": 0},
    "nsp": {"objectives": {"mlm": {}, "nsp": {}}, "task_id": 1},
    "reordering": {"objectives": {"sentence_reordering": {}}, "task_id": 2},
    "capitals": {"objectives": {"capitalization": {}}, "task_id": 3},
}


def _recipe(schedule: dict[str, Any], tasks: dict[str, Any] | None = None, **train: Any) -> Recipe:
    plain = {
        "name": "test", "arch": {}, "tasks": tasks or ON_LOSSES, "schedule": schedule,
        "data": {"corpora": [{"path": "c"}], "max_length": 64}, "train": {"batch_rows": 4} | train,
    }  # fmt: skip
    return from_mapping(Recipe, plain, "test")


def _plan(schedule: dict[str, Any], tasks: dict[str, Any] | None = None, **train: Any) -> TrainingPlan:
    return make_plan(_recipe(schedule, tasks, **train))


def _steps(plan: TrainingPlan) -> list[str]:
    return [plan.schedule.task_at(step) for step in range(plan.schedule.total_steps)]


def test_every_kind_is_described() -> None:
    assert list(SCHEDULES) == [*KINDS, "table"]


def test_the_six_ways_of_on_losses() -> None:
    """Section 3.3, one sentence each, with twelve steps for four tasks."""
    every = "mlm+nsp+reordering+capitals"
    assert _steps(_plan({"kind": "sum", "total_steps": 12})) == [every] * 12
    grown = ["mlm", "mlm+nsp", "mlm+nsp+reordering", every]
    assert _steps(_plan({"kind": "incremental", "total_steps": 12})) == [name for name in grown for _ in range(3)]
    tasks = list(ON_LOSSES)
    assert _steps(_plan({"kind": "alternating", "total_steps": 12})) == tasks * 3
    plus = ["mlm+nsp", "mlm+reordering", "mlm+capitals"]
    assert _steps(_plan({"kind": "alternating_plus", "total_steps": 12})) == plus * 4
    cmtl = _plan({"kind": "cmtl", "total_steps": 20})
    assert [list(stage.steps) for stage in cmtl.schedule.stages] == [
        [2, 0, 0, 0], [1, 3, 0, 0], [1, 1, 4, 0], [1, 1, 1, 5],
    ]  # fmt: skip
    assert cmtl.schedule.tasks == tuple(tasks)
    # Appendix A, Table 6: three auxiliary tasks, MLM not counted; 10 billion tokens in chunks of T / (N (N + 1)).
    final = _plan({"kind": "cmtl_plus", "total_steps": 12})
    assert final.schedule.tasks == tuple(plus)
    assert [list(stage.steps) for stage in final.schedule.stages] == [[2, 0, 0], [1, 3, 0], [1, 1, 4]]


def test_table_7_of_ernie_2() -> None:
    assert [stage.steps for stage in _plan({"kind": "multi_task", "steps_per_task": 50_000}).schedule.stages] == [
        (50_000,) * 4
    ]
    steps = _steps(_plan({"kind": "sequential", "steps_per_task": 3}))
    assert steps == [task for task in ON_LOSSES for _ in range(3)]
    mixed = _steps(_plan({"kind": "multi_task", "steps_per_task": 3}))
    assert sorted(mixed) == sorted(steps)
    assert mixed[:4] != list(ON_LOSSES)


def test_amounts_in_tokens() -> None:
    """4 rows of 64 tokens are 256 tokens a step; 32 rows of a token batch are as many as it says."""
    assert _plan({"kind": "sum", "total_tokens": 2560}).schedule.total_steps == 10
    plan = _plan({"kind": "cmtl_plus", "tokens_per_task": 3 * 256 + 100})
    assert [plan.schedule.steps_of(name) for name in plan.schedule.tasks] == [3, 3, 3]
    plan = _plan(
        {"kind": "sequential", "tokens_per_task": {"mlm": 1000, "nsp": 2000, "reordering": 500, "capitals": 1500}},
        batch_rows=None, batch_tokens=500,
    )  # fmt: skip
    assert plan.schedule.table() == [{"mlm": 2}, {"nsp": 4}, {"reordering": 1}, {"capitals": 3}]
    with pytest.raises(UserError, match="100 tokens are less than half a batch of 256"):
        _plan({"kind": "cmtl", "tokens_per_task": 100})


def test_steps_of_single_tasks() -> None:
    plan = _plan({"kind": "alternating_plus", "steps_per_task": {"nsp": 1, "reordering": 3, "capitals": 2}})
    assert _steps(plan) == [
        "mlm+nsp", "mlm+reordering", "mlm+capitals", "mlm+reordering", "mlm+capitals", "mlm+reordering",
    ]  # fmt: skip
    for kind, given, words in (
        ("cmtl_plus", {"mlm": 1, "nsp": 1, "reordering": 1, "capitals": 1}, "'mlm' is part of every step"),
        ("sum", {"mlm": 1}, "trains all tasks in every step; give one number"),
        ("cmtl", {"mlm": 1, "nps": 1}, "did you mean 'nsp'"),
        ("cmtl", {"mlm": 1, "nsp": 1}, "no number for reordering, capitals"),
    ):
        with pytest.raises(UserError, match=words):
            _plan({"kind": kind, "steps_per_task": given})


def test_a_table_by_hand_may_sum_tasks() -> None:
    stages = [{"mlm": 2}, {"mlm+nsp": 3, "mlm": 1}, {"reordering+capitals": 2}]
    plan = _plan({"kind": "table", "stages": stages, "total_steps": 8})
    assert plan.schedule.table() == [{"mlm": 2}, {"mlm": 1, "mlm+nsp": 3}, {"reordering+capitals": 2}]
    assert [plan.introduced(step) for step in (0, 2, 6, 8)] == [[], ["mlm"], ["mlm", "nsp"], list(ON_LOSSES)]
    for more, words in (
        ({"total_steps": 9}, "8 steps in all, but total_steps: 9"),
        ({"steps_per_task": 3}, "'mlm' 3 steps|'reordering.capitals' 2 steps, but steps_per_task is 3"),
        ({"stages": stages[:2]}, "'reordering' has no steps"),
        ({"stages": [*stages, {"mlm+nps": 2}]}, "did you mean 'nsp'"),
    ):
        with pytest.raises(UserError, match=words):
            _plan({"kind": "table", "stages": stages} | more)
    with pytest.raises(UserError, match=r"exactly one of steps_per_task.*found none"):
        _plan({"kind": "cmtl"})
    with pytest.raises(UserError, match="did you mean 'cmtl'"):
        _plan({"kind": "cmlt", "total_steps": 5})


def test_a_sum_shares_rows_where_it_can() -> None:
    """One of nsp and reordering arranges the rows of MLM; the other has rows of its own."""
    (first, second) = sum_tasks(_recipe({"total_steps": 5}), list(ON_LOSSES)).groups
    assert first.tasks == ("mlm", "nsp", "capitals")
    assert list(first.objectives) == ["mlm", "nsp", "capitalization"]  # mlm once, though two tasks have it
    assert first.task_id == 0
    assert (second.tasks, second.task_id) == (("reordering",), 2)
    # Two kinds of masking both say which tokens are masked; and other corpora are other rows.
    tasks = {
        "mlm": {"objectives": {"mlm": {}}},
        "knowledge": {"objectives": {"knowledge_masking": {}}},
        "elsewhere": {"objectives": {"nsp": {}}, "corpora": [{"path": "d"}]},
    }
    assert [each.tasks for each in sum_tasks(_recipe({"total_steps": 5}, tasks), list(tasks)).groups] == [
        ("mlm",), ("knowledge",), ("elsewhere",),
    ]  # fmt: skip
    tasks = {"a": {"objectives": {"mlm": {}}}, "b": {"objectives": {"mlm": {"rate": 0.2}, "nsp": {}}}}
    with pytest.raises(UserError, match=r"tasks 'a' and 'b' are trained together but differ in the settings of mlm"):
        _plan({"kind": "sum", "total_steps": 5}, tasks)


def test_rows_keep_the_id_that_they_are_trained_with() -> None:
    alone = _plan({"kind": "cmtl", "steps_per_task": 5})
    assert [alone.task_id(task) for task in ON_LOSSES] == [0, 1, 2, 3]
    # MLM is never alone: its rows are evaluated as those of the first sum it is in.
    plus = _plan({"kind": "cmtl_plus", "steps_per_task": 5})
    assert [plus.task_id(task) for task in ON_LOSSES] == [1, 1, 2, 3]
    whole = _plan({"kind": "sum", "steps_per_task": 5})
    assert [whole.task_id(task) for task in ON_LOSSES] == [0, 0, 2, 0]


def test_a_run_goes_on_where_another_ended() -> None:
    """The stages that introduce new tasks are left; old ones go on counting."""
    three = {name: ON_LOSSES[name] for name in list(ON_LOSSES)[:3]}
    before = _plan({"kind": "cmtl", "steps_per_task": 20}, three).history_at(60)
    assert before.steps == {"mlm": 20, "nsp": 20, "reordering": 20}
    assert before.introduced == list(three)
    plan = make_plan(_recipe({"kind": "cmtl", "steps_per_task": 20}), before)
    assert plan.schedule.table() == [{"mlm": 4, "nsp": 4, "reordering": 4, "capitals": 20}]
    assert plan.introduced(0) == list(three)
    first = next(step for step in range(32) if plan.schedule.task_at(step) == "nsp")
    assert plan.schedule.at(first).task_step == 20
    assert plan.history_at(32).steps == {"mlm": 24, "nsp": 24, "reordering": 24, "capitals": 20}
    middle = _plan({"kind": "cmtl", "steps_per_task": 20}, three).history_at(5)
    assert (middle.steps, middle.introduced) == ({"mlm": 5}, ["mlm"])

    for kind, table in (
        ("sequential", [{"capitals": 20}]),
        ("incremental", [{"mlm+nsp+reordering+capitals": 20}]),
        ("multi_task", [dict.fromkeys(ON_LOSSES, 20)]),
    ):
        assert make_plan(_recipe({"kind": kind, "steps_per_task": 20}), before).schedule.table() == table
    plus = _plan({"kind": "cmtl_plus", "steps_per_task": 20}, three).history_at(40)
    assert plus.steps == {"mlm+nsp": 20, "mlm+reordering": 20}
    later = make_plan(_recipe({"kind": "cmtl_plus", "steps_per_task": 20}), plus)
    assert later.schedule.table() == [{"mlm+nsp": 5, "mlm+reordering": 5, "mlm+capitals": 20}]
    # Without a new task the whole table is trained again; a table by hand is what it says.
    again = make_plan(_recipe({"kind": "cmtl", "steps_per_task": 20}, three), before)
    assert again.schedule.total_steps == 60
    stages = [{"capitals": 7}]
    by_hand = make_plan(_recipe({"kind": "table", "stages": stages}), before)
    assert by_hand.schedule.table() == stages
    assert by_hand.introduced(7) == list(ON_LOSSES)

    moved = {"capitals": ON_LOSSES["capitals"], **three}
    with pytest.raises(UserError, match="'mlm' was trained before and is listed after a new task"):
        make_plan(_recipe({"kind": "cmtl", "steps_per_task": 20}, moved), before)


def test_names_that_cannot_be_summed_are_refused() -> None:
    with pytest.raises(UserError, match=r"task 'a\+b': a task name may only contain"):
        _plan({"total_steps": 4}, {"a+b": {"objectives": {"mlm": {}}}})
