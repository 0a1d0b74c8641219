"""The guard against steps whose loss or gradient is not finite."""

from __future__ import annotations

from typing import Any

from propeller.errors import UserError
from propeller.run.hooks.record import Hook, StepRecord


class NonFiniteGuard(Hook):
    """Counts steps that were skipped because they were not finite, and ends the run after `limit` in a row.

    With float16 the loss scale searches for its size by such steps, so a few in a row are normal there; `limit`
    counts steps during which a smaller scale did not help.
    """

    def __init__(self, limit: int = 20) -> None:
        if limit < 1:
            raise UserError(f"non-finite steps: the limit {limit} must be 1 or more")
        self.limit = limit
        self.total = 0
        self._row: list[tuple[int, str]] = []

    def on_step(self, record: StepRecord) -> None:
        """Count the step. Raises UserError with the sample numbers at the `limit`-th bad step in a row."""
        if record.finite:
            self._row.clear()
            return
        self.total += 1
        self._row.append((record.step, record.samples))
        if len(self._row) < self.limit:
            return
        first, last = self._row[0][0], self._row[-1][0]
        samples = "; ".join(f"step {step}: {text}" for step, text in self._row if text) or "not known"
        raise UserError(
            f"{len(self._row)} steps in a row (steps {first} to {last}) had a loss or gradient that is not finite; the "
            f"parameters are still those after step {first - 1}. Lower the learning rate, lengthen the warmup, or look "
            f"at these samples: {samples}"
        )

    def state(self) -> dict[str, Any]:
        """The counts so far."""
        return {"total": self.total, "row": [list(item) for item in self._row]}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the counts of the run that is resumed."""
        self.total = int(state.get("total", 0))
        self._row = [(int(step), str(text)) for step, text in state.get("row", [])]
