"""A job: one run in a folder of its own, which ends by writing a result file."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

RESULT = "result.json"


class RunFailedError(RuntimeError):
    """A run ended with this exit code after it printed the reason."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


K = TypeVar("K", bound=Hashable)

Result = Mapping[str, Any]
"""The result that the process of a job wrote; it always has `settings` and `seconds`."""


@dataclass(frozen=True)
class Job(Generic[K]):
    """One run.

    Attributes:
        key: Key of the job in `JobRunner.results`.
        title: Name of the job in messages.
        kind: Kind of the job; jobs of a kind take about the same time.
        folder: Folder of its result.
        settings: Everything that affects the result except the data; the result of other settings is not reused.
        action: The "module:function" that runs the job, called as function(folder, **arguments()) in a process of its
            group; it returns the result, or None if it did not finish.
        arguments: Returns plain data for the action; called just before the process starts.
        renewed: Whether a job that was run with other settings is run again instead of being refused.
        needs: Key of an earlier job of the group that must have succeeded.
    """

    key: K
    title: str
    kind: str
    folder: Path
    settings: Mapping[str, Any]
    action: str
    arguments: Callable[[], Mapping[str, Any]]
    renewed: bool = False
    needs: K | None = None


@dataclass(frozen=True)
class Group(Generic[K]):
    """Jobs that one process runs one after the other; `folder` gets the log."""

    folder: Path
    jobs: Sequence[Job[K]]
