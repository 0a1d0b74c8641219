"""The log of a run: one JSON object per line; a resumed run appends to the lines up to its checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from propeller.run.hooks.record import EvalRecord, Hook, StepRecord


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a log, up to a line that a killed process left unfinished."""
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                return
            if not line.endswith("\n") or not isinstance(value, dict):
                return
            yield value


class JsonlLog(Hook):
    """Writes every `every`-th step and every evaluation, flushed line by line.

    `resume_step` is the step of the checkpoint from which the run is resumed (0 for a new run). Lines about later
    steps, which will be repeated, are removed first. So apart from times, the log of an interrupted and resumed run
    equals that of an uninterrupted one.
    """

    def __init__(self, path: Path, *, resume_step: int = 0, every: int = 1) -> None:
        self.path, self.every = path, every
        path.parent.mkdir(parents=True, exist_ok=True)
        self._drop_after(resume_step)
        self._stream = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by on_end

    def _drop_after(self, step: int) -> None:
        if not self.path.exists():
            return
        aside = self.path.with_name(f".tmp-{self.path.name}")
        with open(aside, "w", encoding="utf-8") as stream:
            for value in read_log(self.path):
                if int(value.get("step", 0)) <= step:
                    stream.write(json.dumps(value, ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, self.path)

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        self._stream.write(json.dumps({"kind": kind, **fields}, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()

    def on_step(self, record: StepRecord) -> None:
        """Write the step, if it is one of every `every` or the last, or if it was not finite."""
        if record.step % self.every == 0 or record.step == record.total_steps or not record.finite:
            self._write("step", record.to_dict())

    def on_eval(self, record: EvalRecord) -> None:
        """Write the evaluation."""
        self._write("eval", record.to_dict())

    def on_end(self) -> None:
        """Close the file."""
        self._stream.close()
