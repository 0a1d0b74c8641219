"""The progress of a run, shown to the user: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

from propeller.run.hooks.record import EvalRecord, Hook, StepRecord


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as ``h:mm:ss``."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def figures(record: StepRecord, unit: str) -> str:
    """The figures of a step in one line: losses, metrics, learning rate, speed, padding and loss scale."""
    parts = [f"loss {record.loss:.4f}"]
    if len(record.losses) > 1:
        parts[0] += f" ({' '.join(f'{name} {value:.3f}' for name, value in record.losses.items())})"
    parts += [f"{name} {value:.3f}" for name, value in record.metrics.items()]
    parts.append(f"lr {record.lr:.2e}")
    parts.append(f"{record.units_per_second:,.0f} {unit}/s")
    parts.append(f"padding {record.padding:.1%}")
    if record.loss_scale != 1:
        parts.append(f"scale {record.loss_scale:g}")
    if not record.finite:
        parts.append("NOT FINITE, update skipped")
    return "  ".join(parts)


class Progress(Hook):
    """A tqdm bar where `stream` is a terminal; otherwise a line for the first step, the last step, every `every`-th
    step, and a step at least `seconds` after the line before."""

    def __init__(
        self,
        total_steps: int,
        *,
        unit: str = "units",
        every: int = 100,
        seconds: float = 30.0,
        initial: int = 0,
        stream: TextIO | None = None,
    ) -> None:
        self.unit, self.every, self.seconds = unit, every, seconds
        self.stream: TextIO = sys.stderr if stream is None else stream
        self._last = time.monotonic()
        self._first = True
        self._bar: Any = None
        if self.stream.isatty():
            self._bar = tqdm(total=total_steps, initial=initial, file=self.stream, unit="step", dynamic_ncols=True)

    def on_step(self, record: StepRecord) -> None:
        """Show the step."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{record.task}  {figures(record, self.unit)}", refresh=False)
            self._bar.update(record.step - self._bar.n)
            return
        now = time.monotonic()
        due = record.step % self.every == 0 or record.step == record.total_steps or now - self._last >= self.seconds
        if due or self._first or not record.finite:
            self._last, self._first = now, False
            self._say(
                f"step {record.step}/{record.total_steps}  {record.task}  {figures(record, self.unit)}  "
                f"eta {duration(record.eta)}"
            )

    def on_eval(self, record: EvalRecord) -> None:
        """Show the evaluation."""
        values = "  ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
        self._say(f"step {record.step}  evaluation {record.name}: {values}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def on_end(self) -> None:
        """Leave the bar as it is and end its line."""
        if self._bar is not None:
            self._bar.close()
