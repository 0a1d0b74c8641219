"""A job: one piece of work in a folder of its own, which ends with a result file."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

RESULT = "result.json"


class RunFailedError(RuntimeError):
    """A run ended with this exit code; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


K = TypeVar("K", bound=Hashable)

Result = Mapping[str, Any]
"""What the process of a job wrote about it; `settings` and `seconds` are always there."""


@dataclass(frozen=True)
class Job(Generic[K]):
    """One piece of work.

    Attributes:
        key: what it goes by in `JobRunner.results`.
        title: the job in a message.
        kind: what jobs of like duration have in common.
        folder: where its result lies.
        settings: what decides the result beside the data: a finished job with other settings is another job.
        action: "module:function" that does it, called as function(folder, **arguments()) in a process of its group;
            it returns the result, or None if it did not come to its end.
        arguments: plain data for the action, asked for just before the process starts.
        renewed: whether it is done again, not refused, where it was done with other settings.
        needs: key of an earlier job of the group without which this one is not tried.
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
    """Jobs that one process does one after the other; `folder` gets its log."""

    folder: Path
    jobs: Sequence[Job[K]]
