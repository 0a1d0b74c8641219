"""Carrying out the runs of a plan: one process per row and seed, a result file per run, nothing done twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ernie_paddle.tables.plan import Plan, Run
from ernie_paddle.tables.sources import Sources, tables_of
from ernie_paddle.tables.trial import RESULT
from propeller.errors import UserError
from propeller.run_folder import FolderLock

Result = Mapping[str, Any]
"""What the process of a run wrote about it."""

LOG = "log.txt"
_POLL_SECONDS = 0.2
_FIGURES = {"mcc", "f1", "accuracy", "spearman", "pearson"}


class InterruptedRunError(Exception):
    """Ctrl-C, SIGTERM or a hang-up came; everything done so far is kept."""


@dataclass
class Pace:
    """How long runs take, by kind, to tell when all will be done."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, run: Run, seconds: float) -> None:
        """A run took so long."""
        self.seconds[run.kind].append(seconds)

    def left(self, runs: list[Run]) -> float:
        """Seconds that these runs will take: the mean of their kind, else of all."""
        means = {kind: sum(times) / len(times) for kind, times in self.seconds.items()}
        usual = sum(means.values()) / len(means)
        return sum(means.get(run.kind, usual) for run in runs)


@dataclass
class Runner:
    """The runs of a plan in a folder.

    Attributes:
        plan: which runs.
        sources: what they read.
        output: folder of the table.
        gpus: devices that every run uses together, as `fleetrun` takes them; None: one device or the CPU.
        results: of finished runs.
        failures: why others failed.
    """

    plan: Plan
    sources: Sources
    output: Path
    gpus: str | None = None
    results: dict[Run, Result] = field(default_factory=dict)
    failures: dict[Run, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pace = Pace()
        self.total = sum(len(trial) for trial in self.plan.trials)
        for trial in self.plan.trials:
            for run in trial:
                self._take(run)

    def run(self, after_trial: Callable[[], object]) -> None:
        """Do all runs that have no result yet. A run that fails is named, and others go on.

        Args:
            after_trial: called whenever a row and seed are through.

        Raises:
            InterruptedRunError: a signal asked for the end.
            UserError: another process works in the folder.
        """
        if self.results:
            print(f"{len(self.results)} of {self.total} runs were done before", file=sys.stderr)
        with FolderLock(self.output), _stop_signals():
            for trial in self.plan.trials:
                while pending := self._pending(trial):
                    self._run_some(pending)
                after_trial()

    def _pending(self, trial: list[Run]) -> list[Run]:
        """Runs of a row and seed that are still to do; where pre-training failed, so has all that follows."""
        base = trial[0]
        if base in self.failures:
            for run in trial[1:]:
                if run not in self.results:
                    self.failures.setdefault(run, "its pre-training failed")
        return [run for run in trial if run not in self.results and run not in self.failures]

    def _run_some(self, pending: list[Run]) -> None:
        """Do these runs in one process, up to the first that fails."""
        folder = pending[0].folder(self.output).parent
        folder.mkdir(parents=True, exist_ok=True)
        specification = folder / "spec.json"
        specification.write_text(json.dumps([self._spec(run) for run in pending], indent=1), encoding="utf-8")
        with open(folder / LOG, "a", encoding="utf-8") as log:
            # A session of its own: Ctrl-C comes to this process, which passes it on once.
            process = subprocess.Popen(
                [*self._launcher(folder), str(specification)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                left = self._watch(process, pending)
            except InterruptedRunError:
                process.send_signal(signal.SIGINT)
                process.wait()
                raise
        if left:
            reason = _last_line(folder / LOG) or f"exit code {process.returncode}"
            self.failures[left[0]] = reason
            print(f"FAILED {left[0].title}: {reason} (all of it: {folder / LOG})", file=sys.stderr, flush=True)

    def _watch(self, process: subprocess.Popen[bytes], pending: list[Run]) -> list[Run]:
        """Tell of each run when it has its result; returns those that have none at the end of the process."""
        left, ended = list(pending), False
        while not ended and left:
            try:
                process.wait(_POLL_SECONDS)
                ended = True
            except subprocess.TimeoutExpired:
                pass
            while left and self._take(left[0]):
                self._tell(left.pop(0))
        process.wait()
        return left

    def _take(self, run: Run) -> bool:
        """Take up the result of a run, if it has one.

        Raises:
            UserError: the run was done with other settings.
        """
        path = run.folder(self.output) / RESULT
        if not path.is_file():
            return False
        result = json.loads(path.read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(self.plan.settings(run)))
        if result["settings"] != wanted:
            raise UserError(
                f"{path.parent} was made with other settings ({_difference(result['settings'], wanted)}); choose "
                "another --output, or give the settings of that table to continue it"
            )
        self.results[run] = result
        self.pace.add(run, result["seconds"])
        return True

    def _tell(self, run: Run) -> None:
        result = self.results[run]
        figures = result["best"] if run.benchmark else _last_metrics(result)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if _is_told(name))
        todo = [item for trial in self.plan.trials for item in trial]
        todo = [item for item in todo if item not in self.results and item not in self.failures]
        left = f"about {self.pace.left(todo) / 60:.0f} min left" if todo else "all done"
        number = f"[{len(self.results) + len(self.failures)}/{self.total}]"
        print(f"{number} {run.title}: {shown} in {result['seconds']:.0f} s; {left}", file=sys.stderr, flush=True)

    def _spec(self, run: Run) -> dict[str, Any]:
        folder = run.folder(self.output)
        model_of = None
        if run.benchmark is None:
            arguments = self.plan.pretrain_arguments(run, self.sources.corpus, folder)
        else:
            rows = self.plan.size.finetune.rows
            train, dev = tables_of(run.benchmark, self.sources.glue, rows, self.output / "rows")
            arguments = self.plan.finetune_arguments(run, train, dev, self.sources.vocab, folder)
            if self.plan.table.rows[run.row].recipe:
                model_of = str(Run(run.row, run.seed, None).folder(self.output))
        settings = self.plan.settings(run)
        return {"arguments": arguments, "folder": str(folder), "settings": settings, "model_of": model_of}

    def _launcher(self, folder: Path) -> list[str]:
        from ernie_paddle.tables import trial

        if self.gpus is None:
            return [sys.executable, "-m", trial.__name__]
        devices = ["--gpus", self.gpus, "--log_dir", str(folder / "ranks")]
        return [sys.executable, "-m", "propeller.fleetrun", *devices, str(trial.__file__)]


def _is_told(name: str) -> bool:
    return name in _FIGURES or name.endswith("loss")


def _last_metrics(result: Result) -> dict[str, float]:
    """The losses of a run's last evaluation, by task."""
    last = max((line["step"] for line in result["evaluations"]), default=0)
    return {f"{line['name']} loss": line["metrics"]["loss"] for line in result["evaluations"] if line["step"] == last}


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _difference(before: Result, now: Result) -> str:
    changed = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
    key = sorted(changed)[0]
    was, wants = before.get(key), now.get(key)
    if isinstance(was, list) and isinstance(wants, list):
        was, wants = ([item for item in one if item not in other] for one, other in ((was, wants), (wants, was)))
    return f"{key} was {was} and is {wants}"


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP raise InterruptedRunError inside the block."""

    def stop(number: int, frame: object) -> None:
        raise InterruptedRunError(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
