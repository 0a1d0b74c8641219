"""A refactor must not change the losses of the smoke recipes, which train every objective."""

from __future__ import annotations

import json

import pytest

from ernie_paddle.objectives.registry import registry
from helpers.smoke import RECORDED, recorded_objectives, smoke_losses

# The recorded values come from one kind of processor; others sum in another order, and 24 steps let that grow.
TOLERANCE = 2e-4


@pytest.mark.parametrize("name", RECORDED)
def test_losses_are_the_recorded_ones(name: str) -> None:
    recorded = json.loads(RECORDED[name].read_text(encoding="utf-8"))
    losses = smoke_losses(name)
    assert [row["task"] for row in losses] == [row["task"] for row in recorded]
    for row, expected in zip(losses, recorded, strict=True):
        assert {k: v for k, v in row.items() if k != "task"} == pytest.approx(
            {k: v for k, v in expected.items() if k != "task"}, rel=TOLERANCE
        )


def test_every_objective_has_recorded_losses() -> None:
    """A new objective joins configs/smoke/objectives.yaml, and its losses are recorded."""
    found = recorded_objectives()
    assert set(found) == set(registry())
    # A loss of 0 is that of an objective which finds no label: it would protect nothing.
    assert {name: least for name, least in found.items() if not 0.01 < least < 1000} == {}
