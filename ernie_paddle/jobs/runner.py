"""Runs jobs: one process per group, one result file per job, no job twice, one group per device at a time."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from ernie_paddle.jobs import child
from ernie_paddle.jobs.job import RESULT, Group, Job, K, Result
from propeller.errors import UserError
from propeller.run.run_folder import FolderLock

LOG = "log.txt"
_POLL_SECONDS = 0.2
_ON_ONE_DEVICE: Mapping[str, str] = {}


class InterruptedRunError(Exception):
    """The run was interrupted by Ctrl-C, SIGTERM or SIGHUP; all results so far are kept."""


def one_process(folder: Path) -> list[str]:
    """The command of a group's process, without the specification."""
    return [sys.executable, "-m", child.__name__]


@dataclass
class Pace:
    """Durations of jobs by kind, to estimate the remaining time."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, seconds: float) -> None:
        """Add the duration of a job of this kind."""
        self.seconds[kind].append(seconds)

    def left(self, kinds: Sequence[str]) -> float:
        """Estimated seconds for jobs of these kinds: the mean of each kind, or of all jobs for a new kind."""
        means = {kind: sum(times) / len(times) for kind, times in self.seconds.items()}
        usual = sum(means.values()) / len(means)
        return sum(means.get(kind, usual) for kind in kinds)


@dataclass
class JobRunner(Generic[K]):
    """Groups of jobs in a folder.

    Attributes:
        groups: Groups in the order in which they are started.
        folder: Folder that is locked for one process at a time.
        figures: (job, result) -> text about the result for a progress line.
        launcher: Folder of a group -> the command of its process, without the specification.
        devices: Environment variables of each device; as many groups run in parallel.
        results: Results of finished jobs, by key.
        failures: Reasons of failed jobs, by key.
    """

    groups: Sequence[Group[K]]
    folder: Path
    figures: Callable[[Job[K], Result], str]
    launcher: Callable[[Path], list[str]] = one_process
    devices: Sequence[Mapping[str, str]] = (_ON_ONE_DEVICE,)
    results: dict[K, Result] = field(default_factory=dict)
    failures: dict[K, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pace = Pace()
        self.jobs = [job for group in self.groups for job in group.jobs]
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._processes: list[subprocess.Popen[bytes]] = []
        for job in self.jobs:
            self._take(job)

    def run(self, after_group: Callable[[], object]) -> None:
        """Run all jobs that have no result yet. A job that fails is reported, and the other jobs run on.

        Args:
            after_group: Called whenever a group is finished.

        Raises:
            InterruptedRunError: A signal requested the end.
            UserError: Another process is using the folder.
        """
        if self.results:
            print(f"{len(self.results)} of {len(self.jobs)} runs are already done", file=sys.stderr)
        waiting: queue.SimpleQueue[Group[K]] = queue.SimpleQueue()
        for group in self.groups:
            waiting.put(group)
        errors: list[BaseException] = []

        def work(device: Mapping[str, str]) -> None:
            try:
                while not self._stopping.is_set():
                    group = waiting.get_nowait()
                    while (pending := self._pending(group)) and not self._stopping.is_set():
                        self._run_some(group, pending, device)
                    with self._lock:
                        after_group()
            except queue.Empty:
                pass
            except BaseException as error:
                errors.append(error)
                self._stopping.set()

        with FolderLock(self.folder), _stop_signals():
            threads = [threading.Thread(target=work, args=(device,), daemon=True) for device in self.devices]
            for thread in threads:
                thread.start()
            try:
                while any(thread.is_alive() for thread in threads) and not self._stopping.is_set():
                    threads[0].join(_POLL_SECONDS)
            finally:
                self._stop(threads)
        if errors:
            raise errors[0]

    def _stop(self, threads: Sequence[threading.Thread]) -> None:
        """Pass the signal on to all running processes, once, and wait for them to end in order."""
        self._stopping.set()
        with self._lock:
            for process in self._processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
        for thread in threads:
            thread.join()

    def _pending(self, group: Group[K]) -> list[Job[K]]:
        """Remaining jobs of a group; a job that needs a failed job counts as failed, too."""
        for job in group.jobs:
            if job.needs in self.failures and job.key not in self.results:
                needed = next(other for other in group.jobs if other.key == job.needs)
                self.failures.setdefault(job.key, f"its {needed.kind} failed")
        return [job for job in group.jobs if job.key not in self.results and job.key not in self.failures]

    def _run_some(self, group: Group[K], pending: list[Job[K]], device: Mapping[str, str]) -> None:
        """Run these jobs in one process, up to the first that fails."""
        group.folder.mkdir(parents=True, exist_ok=True)
        specification = group.folder / "spec.json"
        specs = [_spec(job) for job in pending]
        specification.write_text(json.dumps(specs, indent=1), encoding="utf-8")
        with open(group.folder / LOG, "a", encoding="utf-8") as log:
            with self._lock:
                if self._stopping.is_set():
                    return
                # The child has a session of its own: Ctrl-C reaches only this process, which passes it on once.
                process = subprocess.Popen(
                    [*self.launcher(group.folder), str(specification)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, **device},
                )
                self._processes.append(process)
            left = self._watch(process, pending)
        if left and not self._stopping.is_set():
            reason = _reason(process.returncode, group.folder / LOG)
            self.failures[left[0].key] = reason
            whole = group.folder / LOG
            print(f"FAILED {left[0].title}: {reason} (full log: {whole})", file=sys.stderr, flush=True)

    def _watch(self, process: subprocess.Popen[bytes], pending: list[Job[K]]) -> list[Job[K]]:
        """Report each job when its result appears; returns the jobs without a result at the end of the process."""
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

    def _take(self, job: Job[K]) -> bool:
        """Load the result of a job, if it has one.

        Raises:
            UserError: The job was run with other settings.
        """
        path = job.folder / RESULT
        if not path.is_file():
            return False
        result = json.loads(path.read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(job.settings))
        if result["settings"] != wanted:
            if job.renewed:
                return False
            raise UserError(
                f"{path.parent} was run with other settings ({_difference(result['settings'], wanted)}); choose "
                "another output folder, or give the previous settings to resume it"
            )
        with self._lock:
            self.results[job.key] = result
            self.pace.add(job.kind, result["seconds"])
        return True

    def _tell(self, job: Job[K]) -> None:
        result = self.results[job.key]
        with self._lock:
            todo = [item.kind for item in self.jobs if item.key not in self.results and item.key not in self.failures]
            number = f"[{len(self.results) + len(self.failures)}/{len(self.jobs)}]"
        left = f"about {self.pace.left(todo) / len(self.devices) / 60:.0f} min left" if todo else "all done"
        said = f"{number} {job.title}: {self.figures(job, result)} in {result['seconds']:.0f} s; {left}"
        print(said, file=sys.stderr, flush=True)


def _spec(job: Job[K]) -> dict[str, Any]:
    plain = {"action": job.action, "folder": str(job.folder), "settings": job.settings}
    return {**plain, "arguments": dict(job.arguments())}


def _reason(code: int, log: Path) -> str:
    """Why a process ended: the last line of its log, or the signal that killed it."""
    if code < 0:
        return f"ended by signal {signal.Signals(-code).name}" + (
            ": there may be too little memory" if -code == signal.SIGKILL else ""
        )
    return _last_line(log) or f"exit code {code}"


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
