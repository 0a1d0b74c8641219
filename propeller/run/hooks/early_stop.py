"""The hook that ends a run whose evaluation no longer improves, and knows which evaluation was the best."""

from __future__ import annotations

import math
from typing import Any, Literal

from propeller.errors import UserError
from propeller.run.hooks.record import EvalRecord, Hook


class EarlyStop(Hook):
    """Watches one metric of one evaluation.

    After each evaluation `improved` says whether it was the best so far (a reason to mark the checkpoint as best).
    `patience` is the number of evaluations without improvement that end the run; None never ends it.
    """

    def __init__(
        self,
        metric: str,
        mode: Literal["min", "max"] = "min",
        patience: int | None = None,
        *,
        name: str | None = None,
    ) -> None:
        if mode not in ("min", "max"):
            raise UserError(f"early stop: mode {mode!r} is neither 'min' nor 'max'")
        if patience is not None and patience < 1:
            raise UserError(f"early stop: patience {patience} must be 1 or more")
        self.metric, self.mode, self.patience, self.name = metric, mode, patience, name
        self.best_value: float | None = None
        self.best_step = 0
        self.waited = 0
        self.improved = False

    def on_eval(self, record: EvalRecord) -> None:
        """Compare an evaluation with the best so far. Raises UserError if it lacks the watched metric."""
        if self.name is not None and record.name != self.name:
            return
        if self.metric not in record.metrics:
            raise UserError(
                f"early stop: the evaluation has no metric {self.metric!r}; it has {', '.join(sorted(record.metrics))}"
            )
        value = record.metrics[self.metric]
        self.improved = self._better(value)
        if self.improved:
            self.best_value, self.best_step, self.waited = value, record.step, 0
            return
        self.waited += 1
        self._judge()

    def _judge(self) -> None:
        if self.patience is not None and self.waited >= self.patience:
            self.stop_reason = f"stopped early: {self.metric} has not improved for {self.waited} evaluations" + (
                f"; the best was {self.best_value:.6g} at step {self.best_step}" if self.best_value is not None else ""
            )

    def _better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best_value is None:
            return True
        return value < self.best_value if self.mode == "min" else value > self.best_value

    def state(self) -> dict[str, Any]:
        """The best evaluation so far, and the number of evaluations since."""
        return {"best_value": self.best_value, "best_step": self.best_step, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state of the run that is resumed."""
        self.best_value = state.get("best_value")
        self.best_step = int(state.get("best_step", 0))
        self.waited = int(state.get("waited", 0))
        self._judge()
