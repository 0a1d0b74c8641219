"""Worker processes: all results, errors by name, no process left behind, and nothing of the main program in them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from helpers.started_processes import record_started
from reader.errors import DataError
from reader.workers.pool import run_tasks


def setup(kind: str) -> Callable[[Any], Any]:
    if kind == "bad setup":
        raise DataError("no such tokenizer")
    return work


def work(task: Any) -> Any:
    if task == "data":
        raise DataError("bad text")
    if task == "bug":
        raise KeyError("oops")
    if task == "die":
        os._exit(3)
    if task == "modules":
        return sorted(name for name in sys.modules if name.split(".")[0] in ("paddle", "propeller", "ernie_paddle"))
    if task == "file":
        Path("/no/such/folder/x").read_bytes()
    if task == "sleep":
        time.sleep(60)
    return task * 2


@pytest.mark.parametrize(("how", "argument"), [(lambda kind: work, ""), (setup, threading.Lock())])
def test_what_cannot_travel_is_refused_before_any_process_starts(
    how: Callable[[Any], Callable[[Any], Any]], argument: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = record_started(monkeypatch)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError), match=r"pickle|local"):
        next(run_tasks(how, argument, range(3), 2))
    assert started == []
    assert not multiprocessing.active_children()
    assert sorted(run_tasks(setup, "", range(3), 2)) == [0, 2, 4]
    assert len(set(started)) == 2  # those that do start are seen


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_task_once(workers: int) -> None:
    assert sorted(run_tasks(setup, "", range(10), workers)) == list(range(0, 20, 2))
    assert list(run_tasks(setup, "", [], workers)) == []
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("kind", "task", "error", "message"),
    [
        ("bad setup", 1, DataError, "no such tokenizer"),
        ("", "data", DataError, "bad text"),
        ("", "bug", RuntimeError, "KeyError: 'oops'"),
        ("", "file", DataError, "/no/such/folder/x: No such file"),
        ("", "die", DataError, "died with exit code 3; run the same command again"),
    ],
)
def test_failures_are_reported(kind: str, task: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        list(run_tasks(setup, kind, [1, task, *range(50)], 2))
    assert not multiprocessing.active_children()


def test_workers_do_not_load_paddle() -> None:
    import __main__

    before = (__main__.__spec__, getattr(__main__, "__file__", None))
    assert list(run_tasks(setup, "", ["modules"], 1)) == [[]]
    assert (__main__.__spec__, getattr(__main__, "__file__", None)) == before


def test_stopping_early_ends_the_workers() -> None:
    begin = time.monotonic()
    with closing(run_tasks(setup, "", ["a", "sleep", "sleep"], 2)) as results:
        assert next(results) == "aa"
    assert not multiprocessing.active_children()
    assert time.monotonic() - begin < 30
