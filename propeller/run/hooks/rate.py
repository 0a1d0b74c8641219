"""The speed of a run, and its remaining time."""

from __future__ import annotations

from collections import deque


class Rate:
    """Units per second and remaining time over a window of the last steps.

    The first step, which builds the Programs, no longer counts as soon as there is a second one.
    """

    def __init__(self, total_steps: int, window: int = 50) -> None:
        self.total_steps = total_steps
        self._steps: deque[tuple[int, float]] = deque(maxlen=window)
        self._first = True

    def update(self, step: int, units: int, seconds: float) -> tuple[float, float]:
        """Count one step; returns (units per second, seconds until step `total_steps` is done)."""
        if self._first and self._steps:
            self._steps.clear()
            self._first = False
        self._steps.append((units, seconds))
        elapsed = sum(duration for _, duration in self._steps)
        rate = sum(amount for amount, _ in self._steps) / elapsed if elapsed > 0 else 0.0
        return rate, max(0, self.total_steps - step) * elapsed / len(self._steps)
