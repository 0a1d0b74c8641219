"""Curves in VisualDL, where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from propeller.run.hooks.record import EvalRecord, Hook, StepRecord

_said = False


def _writer(log_dir: Path) -> Any:
    """VisualDL's LogWriter, or None (reported once per process) where the package is missing or does not work."""
    global _said
    try:
        from visualdl import LogWriter
    except Exception as error:  # an optional package: no error in it may end a run
        if not _said:
            _said = True
            missing = isinstance(error, ModuleNotFoundError) and error.name == "visualdl"
            why = "is not installed (pip install visualdl)" if missing else f"cannot be imported ({error})"
            print(f"VisualDL {why}: no VisualDL curves; the JSON log has everything", file=sys.stderr)
        return None
    return LogWriter(logdir=str(log_dir))


class VisualDl(Hook):
    """Writes the figures of every `every`-th step and of evaluations as scalars into `log_dir`."""

    def __init__(self, log_dir: Path, *, every: int = 10) -> None:
        self.every = every
        self._log = _writer(log_dir)

    def _add(self, tag: str, value: float, step: int) -> None:
        if self._log is not None:
            self._log.add_scalar(tag=tag, value=float(value), step=int(step))

    def on_step(self, record: StepRecord) -> None:
        """Write the step's scalars."""
        if record.step % self.every and record.step != record.total_steps:
            return
        for tag, value in (
            ("train/loss", record.loss),
            ("train/lr", record.lr),
            ("train/grad_norm", record.grad_norm),
            ("train/loss_scale", record.loss_scale),
            ("speed/units_per_second", record.units_per_second),
            ("speed/padding", record.padding),
        ):
            self._add(tag, value, record.step)
        for name, value in {**record.losses, **record.metrics}.items():
            self._add(f"{record.task}/{name}", value, record.step)

    def on_eval(self, record: EvalRecord) -> None:
        """Write the evaluation's scalars."""
        for name, value in record.metrics.items():
            self._add(f"{record.name}/{name}", value, record.step)

    def on_end(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
