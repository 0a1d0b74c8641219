"""Schedules as data: tables add up, the order of the steps uses them up exactly and is a pure function."""

from __future__ import annotations

import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_paddle.pretraining.schedule.schedule import Schedule, Stage
from ernie_paddle.pretraining.schedule.stage_tables import cmtl, from_table, multi_task, round_shares, sequential
from propeller.errors import UserError


def test_table_7_of_ernie_2() -> None:
    tasks = ("a", "b", "c", "d")
    schedule = cmtl(tasks, steps_per_task=50_000)
    assert [stage.steps for stage in schedule.stages] == [
        (20_000, 0, 0, 0),
        (10_000, 30_000, 0, 0),
        (10_000, 10_000, 40_000, 0),
        (10_000, 10_000, 10_000, 50_000),
    ]
    assert [s.steps for s in multi_task(tasks, steps_per_task=50_000).stages] == [(50_000,) * 4]
    assert [s.steps for s in sequential(tasks, steps_per_task=9).stages] == [
        (9, 0, 0, 0), (0, 9, 0, 0), (0, 0, 9, 0), (0, 0, 0, 9),
    ]  # fmt: skip
    assert [schedule.introduced_at(task) for task in tasks] == [0, 1, 2, 3]


@given(st.integers(0, 10**6), st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any))
def test_rounding_keeps_the_total(total: int, weights: list[int]) -> None:
    shares = [Fraction(w, sum(weights)) for w in weights]
    rounded = round_shares(total, shares)
    assert sum(rounded) == total
    assert all(abs(got - total * share) < 1 for got, share in zip(rounded, shares, strict=True))
    assert all(got == 0 for got, share in zip(rounded, shares, strict=True) if share == 0)
    # Nobody with a larger remainder was passed over.
    up = [total * s % 1 for got, s in zip(rounded, shares, strict=True) if got > total * s]
    down = [total * s % 1 for got, s in zip(rounded, shares, strict=True) if got < total * s]
    assert not up or not down or min(up) >= max(down)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    n_tasks = draw(st.integers(1, 4))
    tasks = tuple(f"t{i}" for i in range(n_tasks))
    stages = draw(
        st.lists(st.lists(st.integers(0, 12), min_size=n_tasks, max_size=n_tasks).filter(any), min_size=1, max_size=4)
    )
    missing = [i for i in range(n_tasks) if not any(stage[i] for stage in stages)]
    for i in missing:
        stages[-1][i] = 1
    return Schedule(tasks, tuple(Stage(tuple(stage)) for stage in stages), draw(st.integers(0, 5)))


@settings(max_examples=60, deadline=None)
@given(schedules())
def test_steps_use_up_the_table(schedule: Schedule) -> None:
    """One walk over all steps, counted by hand, against every count that the schedule computes."""
    fresh: Schedule = pickle.loads(pickle.dumps(schedule))
    done: Counter[str] = Counter()
    step = 0
    for number, stage in enumerate(schedule.stages):
        in_stage: Counter[str] = Counter()
        for offset in range(stage.total):
            place = fresh.at(step)
            assert (place.step, place.stage, place.stage_step) == (step, number, offset)
            assert place.task_step == done[place.task] == schedule.count_before(step, place.task)
            done[place.task] += 1
            in_stage[place.task] += 1
            step += 1
        assert in_stage == Counter({t: n for t, n in zip(schedule.tasks, stage.steps, strict=True) if n})
    assert step == schedule.total_steps
    for task in schedule.tasks:
        assert schedule.count_before(step, task) == done[task] == schedule.steps_of(task)
    with pytest.raises(IndexError):
        schedule.at(step)


def test_order_is_proportional_to_what_remains() -> None:
    """Drawing in proportion to the remainder makes every order of the multiset equally likely: (a,a,b) has three."""
    seen = Counter(
        "".join(schedule.task_at(i) for i in range(3))
        for schedule in (from_table(["a", "b"], [{"a": 2, "b": 1}], seed=seed) for seed in range(3000))
    )
    assert set(seen) == {"aab", "aba", "baa"}
    assert all(abs(count - 1000) < 4 * np.sqrt(3000 * (1 / 3) * (2 / 3)) for count in seen.values())


def test_stages_differ_and_depend_on_the_seed() -> None:
    tasks, table = ["a", "b"], [{"a": 30, "b": 30}, {"a": 30, "b": 30}]
    one = [from_table(tasks, table, seed=1).task_at(i) for i in range(120)]
    two = [from_table(tasks, table, seed=2).task_at(i) for i in range(120)]
    assert one != two
    assert one[:60] != one[60:]


def test_tables_that_do_not_add_up() -> None:
    tasks = ["mlm", "nsp"]
    ok = [{"mlm": 4}, {"mlm": 2, "nsp": 6}]
    assert from_table(tasks, ok, steps_per_task=6).table() == ok
    with pytest.raises(UserError, match=r"'mlm' 6 steps, but steps_per_task is 7"):
        from_table(tasks, ok, steps_per_task={"mlm": 7, "nsp": 6})
    with pytest.raises(UserError, match=r"stage 2.*'nps'.*'nsp'"):
        from_table(tasks, [{"mlm": 4}, {"nps": 6}])
    with pytest.raises(UserError, match=r"stage 1: mlm .*-1"):
        from_table(tasks, [{"mlm": -1}])
    with pytest.raises(UserError, match=r"stage 1: mlm .*1\.5"):
        from_table(tasks, [{"mlm": 1.5}])  # type: ignore[dict-item]
    with pytest.raises(UserError, match="'nsp' has no steps"):
        from_table(tasks, [{"mlm": 4}])
    with pytest.raises(UserError, match="stage 2 has no steps"):
        from_table(tasks, [{"mlm": 4, "nsp": 1}, {}])
    with pytest.raises(UserError, match="exactly one"):
        cmtl(tasks)
    with pytest.raises(UserError, match="exactly one"):
        cmtl(tasks, steps_per_task=3, total_steps=6)
    with pytest.raises(UserError, match="no number for nsp"):
        cmtl(tasks, steps_per_task={"mlm": 3})
    with pytest.raises(UserError, match="each only once"):
        cmtl(["mlm", "mlm"], steps_per_task=3)


def test_a_long_schedule_is_cheap() -> None:
    """The paper's schedule of 200,000 steps: counts at a far step equal those found by walking there."""
    schedule = cmtl(["a", "b", "c", "d"], steps_per_task=50_000)
    place = schedule.at(150_000)
    assert place.stage == 3
    order = [schedule.task_at(step) for step in range(120_000, 150_000)]
    assert schedule.count_before(150_000, "d") == order.count("d")
    assert place.task_step == schedule.count_before(120_000, place.task) + order.count(place.task)
