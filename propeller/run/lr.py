"""Schedules of the learning rate, as pure functions of the step without state. Step 1 is the first update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from propeller.errors import UserError

Kind = Literal["linear", "noam", "constant", "cosine"]


@dataclass(frozen=True)
class LrConfig:
    """A schedule of the learning rate.

    Attributes:
        kind: shape after warmup. "linear" and "cosine" fall to exactly 0 at ``total_steps``; "noam" falls
            with the inverse square root of the step (Vaswani et al. 2017, section 5.3, scaled so that its peak is
            ``peak``); "constant" stays.
        peak: the highest rate, reached at step ``warmup_steps`` (at step 1 where warmup is 0 or 1).
        warmup_steps: number of steps over which the rate grows in proportion to the step. With 0 "linear" and
            "cosine" begin their fall from ``peak`` at the imagined step 0, and "noam" acts as with 1.
        total_steps: number of updates; needed by "linear" and "cosine", whose rate is 0 from there on.
    """

    kind: Kind = "linear"
    peak: float = 1e-4
    warmup_steps: int = 0
    total_steps: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UserError(f"learning rate: kind {self.kind!r} is none of {', '.join(get_args(Kind))}")
        if not (math.isfinite(self.peak) and self.peak >= 0):
            raise UserError(f"learning rate: peak {self.peak} must be a finite number, 0 or more")
        if self.warmup_steps < 0:
            raise UserError(f"learning rate: warmup_steps {self.warmup_steps} must be 0 or more")
        if self.kind in ("linear", "cosine"):
            if self.total_steps is None:
                raise UserError(f"learning rate: kind {self.kind!r} needs total_steps")
            if self.total_steps < max(self.warmup_steps, 1):
                raise UserError(
                    f"learning rate: total_steps {self.total_steps} is less than warmup_steps {self.warmup_steps} "
                    "(or than 1)"
                )


def lr_at(step: int, config: LrConfig) -> float:
    """Learning rate of update number ``step``, counted from 1.

    Raises:
        ValueError: ``step`` is negative (0 is the limit before training, rate 0 with warmup).
    """
    if step < 0:
        raise ValueError(f"step {step} is negative")
    warmup = config.warmup_steps
    if step < warmup:
        return config.peak * (step / warmup)
    if config.kind == "constant":
        return config.peak
    if config.kind == "noam":
        return config.peak * math.sqrt(max(warmup, 1) / max(step, 1))
    assert config.total_steps is not None
    # The fall is counted from the end of warmup, so that the two branches meet there.
    left = config.total_steps - step
    if left <= 0:
        return config.peak if step == warmup else 0.0
    fraction = left / (config.total_steps - warmup)
    if config.kind == "linear":
        return config.peak * fraction
    return config.peak * 0.5 * (1.0 - math.cos(math.pi * fraction))
