"""The continual multi-task tables of the papers, exactly, and what rounding does to them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ernie_paddle.pretraining.schedule.stage_tables import cmtl, cmtl_fractions


@pytest.fixture(scope="module")
def tables(test_data: Path) -> list[dict[str, Any]]:
    return json.loads((test_data / "golden/models/schedules/cmtl.json").read_text())["tables"]


def test_exact_amounts(tables: list[dict[str, Any]]) -> None:
    for table in tables:
        n, per_task = table["n_tasks"], Fraction(table["per_task_total"])
        rows = [[str(per_task * share) for share in row] for row in cmtl_fractions(n)]
        assert rows == table["amounts_exact"], table["name"]
        stages = [str(sum(Fraction(row[s]) for row in rows)) for s in range(n)]
        assert stages == table["per_stage_total"], table["name"]


def test_rounded_schedules(tables: list[dict[str, Any]]) -> None:
    for table in tables:
        tasks = [f"task{i}" for i in range(table["n_tasks"])]
        schedule = cmtl(tasks, total_steps=table["total"])
        assert schedule.total_steps == table["total"]
        totals = [schedule.steps_of(task) for task in tasks]
        assert max(totals) - min(totals) <= 1
        for i, row in enumerate(table["amounts_exact"]):
            for s, exact in enumerate(row):
                rounded, exact_amount = schedule.stages[s].steps[i], Fraction(exact)
                # Rounding a task's total moves a stage by at most one more.
                assert abs(rounded - exact_amount) < 2
                assert exact_amount.denominator > 1 or rounded == exact_amount
                assert rounded == 0 or exact_amount > 0
