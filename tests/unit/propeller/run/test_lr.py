"""Learning rates: golden values, and laws of all schedules."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from propeller.run.lr import LrConfig, lr_at


@pytest.mark.parametrize(("key", "kind"), [("noam", "noam"), ("linear_decay", "linear")])
def test_golden(test_data: Path, key: str, kind: str) -> None:
    golden = json.loads((test_data / "golden/models/schedules/learning_rates.json").read_text())[key]
    config = LrConfig(kind, golden["peak_lr"], golden["warmup_steps"], golden.get("total_steps"))  # type: ignore[arg-type]
    for step, expected in zip(golden["steps"], golden["lr"], strict=True):
        assert lr_at(step, config) == pytest.approx(expected, rel=1e-12, abs=0)


def test_training_rates(test_data: Path) -> None:
    golden = json.loads((test_data / "golden/models/train_ernie_mlm/training.json").read_text())
    config = LrConfig("linear", golden["peak_lr"], golden["warmup_steps"], golden["total_steps"])
    assert [lr_at(step, config) for step in range(1, 21)] == pytest.approx(golden["runs"]["run1"]["lr"], rel=1e-12)


configs = st.builds(
    lambda kind, warmup, more: LrConfig(kind, 1.0, warmup, warmup + more),
    st.sampled_from(["linear", "noam", "constant", "cosine"]),
    st.integers(0, 1000),
    st.integers(1, 1000),
)


@settings(deadline=None)
@given(configs)
def test_continuous_at_the_end_of_warmup(config: LrConfig) -> None:
    # In either direction a step changes the rate by no more than the steepest slope of warmup and of the falls.
    assert config.total_steps is not None
    peak_step = max(config.warmup_steps, 1)
    slope = max(1 / peak_step, math.pi / 2 / (config.total_steps - config.warmup_steps))
    assert lr_at(config.warmup_steps, config) == pytest.approx(1.0)
    assert abs(lr_at(peak_step, config) - lr_at(peak_step + 1, config)) <= slope + 1e-12
    assert abs(lr_at(peak_step, config) - lr_at(peak_step - 1, config)) <= slope + 1e-12


@settings(deadline=None)
@given(configs)
def test_rises_then_falls_to_zero(config: LrConfig) -> None:
    assert config.total_steps is not None
    rates = [lr_at(step, config) for step in range(1, config.total_steps + 3)]
    top = max(config.warmup_steps, 1) - 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert all(rate > 0 for rate in rates[: config.total_steps - 1])
    if config.kind in ("linear", "cosine"):
        assert rates[config.total_steps - 1 :] == [0.0, 0.0, 0.0]
    elif config.kind == "constant":
        assert set(rates[top:]) == {1.0}


def test_cosine_is_half_way_in_the_middle() -> None:
    config = LrConfig("cosine", 2.0, 10, 30)
    assert lr_at(20, config) == pytest.approx(1.0, rel=1e-15)
    assert lr_at(15, config) == pytest.approx(1 + math.sqrt(0.5), rel=1e-15)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"kind": "step"}, "linear, noam, constant, cosine"),
        ({"kind": "linear"}, "needs total_steps"),
        ({"kind": "cosine", "warmup_steps": 5, "total_steps": 4}, "total_steps 4 is less than warmup_steps 5"),
        ({"kind": "constant", "peak": math.nan}, "peak nan"),
        ({"kind": "noam", "warmup_steps": -1}, "warmup_steps -1"),
    ],
)
def test_refused(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        LrConfig(**arguments)  # type: ignore[arg-type]
