"""Which worker processes were really started."""

from __future__ import annotations

import multiprocessing.util
from typing import Any

import pytest


def record_started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of the processes that `multiprocessing` spawns from now on, in a list that grows.

    They are seen where the operating system is asked for one. What `multiprocessing` starts for its own use (the
    resource tracker) does not count.
    """
    started: list[int] = []
    spawn = multiprocessing.util.spawnv_passfds

    def recorded(path: Any, arguments: Any, descriptors: Any) -> int:
        process: int = spawn(path, arguments, descriptors)
        if any("spawn_main" in str(argument) for argument in arguments):
            started.append(process)
        return process

    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", recorded)
    return started
