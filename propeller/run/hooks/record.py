"""The records of steps and evaluations that hooks receive, and the base class of hooks."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class StepRecord:
    """The record of one training step; figures are those of the global batch.

    Attributes:
        step: number of the step, counted from 1.
        total_steps: number of the last step of the run.
        task: name of the trained task.
        loss: the trained loss.
        losses: mean loss of each term.
        metrics: further figures, such as accuracies.
        lr: learning rate of the update.
        grad_norm: global norm of the gradient before clipping.
        finite: False where the update was skipped because the gradient was not finite.
        loss_scale: loss scale in force (1 without loss scaling).
        units: amount of work in the step, in the unit of the caller.
        units_per_second: rate over the last steps.
        padding: share of the batch that is padding, from 0 to 1.
        seconds: duration of the step.
        eta: seconds that the rest of the run will take at this rate.
        samples: description of the samples in the step, for messages.
    """

    step: int
    total_steps: int
    task: str
    loss: float
    losses: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    lr: float = 0.0
    grad_norm: float = 0.0
    finite: bool = True
    loss_scale: float = 1.0
    units: int = 0
    units_per_second: float = 0.0
    padding: float = 0.0
    seconds: float = 0.0
    eta: float = 0.0
    samples: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; numbers that JSON cannot express become "nan", "inf" or "-inf"."""
        return {key: json_value(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class EvalRecord:
    """The record of one evaluation: the step before it, its name, its figures, and the stage (from 1) or None."""

    step: int
    name: str
    metrics: dict[str, float]
    stage: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values, as in :meth:`StepRecord.to_dict`; without a stage if it is None."""
        return {key: json_value(value) for key, value in asdict(self).items() if value is not None}


def json_value(value: Any) -> Any:
    """The value, with every float that is not finite written as a word."""
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


class Hook:
    """Base class of hooks, which watch a run; each method does nothing unless it is overridden.

    A hook ends the run by setting `stop_reason` to the reason, which is read at the start and after each evaluation.
    """

    stop_reason: str | None = None

    def on_step(self, record: StepRecord) -> None:
        """Called after every training step."""

    def on_eval(self, record: EvalRecord) -> None:
        """Called after every evaluation (which comes before the checkpoint of the same step)."""

    def on_end(self) -> None:
        """Called once when the run ends, whatever the reason."""

    def state(self) -> dict[str, Any]:
        """The JSON-able state that a resumed run needs; empty for most hooks."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state that :meth:`state` returned."""
