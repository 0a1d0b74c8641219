"""Batches from worker processes: same results, clear ends, nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import reader
from helpers.reader_corpora import corpus_of
from helpers.started_processes import record_started
from reader.batches.plan import BatchPlan
from reader.corpora.corpus import Corpus, write_corpus
from reader.corpora.samples import SampleIndex
from reader.errors import DataError
from reader.workers.prefetch import prefetch

_scale = 1


def set_scale(scale: int) -> None:
    global _scale
    _scale = scale


def refuse(message: str) -> None:
    raise DataError(message)


def blob(index: int) -> np.ndarray:
    """Larger than a pipe's buffer, so that sending blocks unless it is read."""
    return np.full(100_000, index * _scale)


def about_worker(index: int) -> tuple[int, str | None, bool]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), "paddle" in sys.modules


class OddError(Exception):
    """Pickles, but cannot be made again from its pickle."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def trouble(index: int) -> int:
    if index == 4:
        raise DataError("corpus.json: damaged")
    if index == 104:
        raise OddError("odd", "ity")
    if index == 204:
        os.kill(os.getpid(), signal.SIGKILL)
    if index == 304:
        os._exit(3)
    return index


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pids: list[int], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while any(map(alive, pids)):
        assert time.monotonic() < end, f"still there: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def test_results_are_the_same_and_in_order_with_and_without_workers() -> None:
    indices = [5, 3, 8, 8, 0, 1, 9, 2, 7]
    for workers, ahead in ((0, 0), (1, 1), (2, 0), (2, 7)):
        results = prefetch(blob, indices, workers, ahead, initializer=set_scale, initargs=(3,))
        assert [(len(result), int(result[0])) for result in results] == [(100_000, 3 * index) for index in indices]
    set_scale(1)


@pytest.mark.parametrize("ahead", [1, 5])
def test_looks_ahead_as_far_as_allowed(ahead: int) -> None:
    asked: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            asked.append(len(asked))
            yield asked[-1]

    with closing(prefetch(blob, endless(), 2, ahead)) as results:
        for n in range(8):
            assert int(next(results)[0]) == n
            assert len(asked) == n + ahead


def test_workers_are_several_have_one_thread_each_and_no_paddle() -> None:
    before = dict(os.environ)
    facts = list(prefetch(about_worker, range(6), 2))
    assert facts[0][0] != facts[1][0]
    assert facts[0] == facts[2] == facts[4]
    assert os.getpid() not in {pid for pid, _, _ in facts}
    assert {(threads, paddle) for _, threads, paddle in facts} == {("1", False)}
    assert dict(os.environ) == before


class Plans:
    """Heavy state that travels to the workers."""

    def __init__(self, path: Path) -> None:
        self.plan = BatchPlan([SampleIndex(Corpus.open(path), 60)], batch_tokens=300)

    def __call__(self, n: int) -> tuple[list[int], bool]:
        rows = self.plan.batch(n)
        tokens = [self.plan.indexes[0].sample(k).tokens for k in rows.sample.tolist()]
        return np.concatenate(tokens).tolist(), "paddle" in sys.modules


def test_a_plan_makes_the_same_batches_in_workers_without_paddle(tmp_path: Path) -> None:
    shards = corpus_of([[length] for length in [7, 20, 33, 60] * 50]).shards
    write_corpus(tmp_path, {"train": shards}, vocab_sha256="x", vocab_size=60_000)
    plans = Plans(tmp_path)
    here, there = (list(prefetch(plans, range(100, 120), workers)) for workers in (0, 2))
    assert [tokens for tokens, _ in here] == [tokens for tokens, _ in there]
    assert not any(paddle for _, paddle in there)


def test_an_error_in_a_worker_keeps_its_type_and_message() -> None:
    got: list[int] = []
    with pytest.raises(DataError, match=r"corpus\.json: damaged") as caught:
        got.extend(trouble_from(0))
    assert got == [0, 1, 2, 3]
    assert "in trouble" in str(caught.value.__cause__)  # the worker's traceback
    with pytest.raises(RuntimeError, match="OddError: oddity"):
        list(trouble_from(100))


def trouble_from(first: int) -> Iterator[int]:
    yield from prefetch(trouble, range(first, first + 50), 2)


@pytest.mark.parametrize(("first", "how"), [(200, "was killed by SIGKILL"), (300, "ended with exit code 3")])
def test_a_dead_worker_is_named_soon(first: int, how: str) -> None:
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"data worker 0 of 2 \(process \d+\) {how}.* item {first // 100}0[024]"):
        list(trouble_from(first))
    assert time.monotonic() - start < 20


def test_a_failing_initializer_is_reported() -> None:
    for workers in (0, 2):
        with pytest.raises(DataError, match="no vocabulary"):
            list(prefetch(blob, range(3), workers, initializer=refuse, initargs=("no vocabulary",)))


@pytest.mark.parametrize("how", ["close", "error", "drop"])
def test_leaving_early_ends_the_workers(how: str) -> None:
    results = prefetch(about_worker, range(10**9), 2)
    pids = [next(results)[0], next(results)[0]]
    assert all(map(alive, pids))
    if how == "close":
        results.close()
    elif how == "error":
        with pytest.raises(ZeroDivisionError), closing(results):
            _ = 1 // 0
    else:
        del results
    wait_until_gone(pids, 5.0)


_SCRIPT = """
import os, sys, time
from reader.workers.prefetch import prefetch

def make(index):
    if index > 1:
        time.sleep(0.05)
    return os.getpid()

if __name__ == "__main__":
    results = prefetch(make, range(10**9), 2)
    print(next(results), next(results), flush=True)
    if sys.argv[1] == "exit":
        sys.exit(0)  # with the generator open
    for _ in results:
        pass
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL", "exit"])
def test_no_end_of_the_program_leaves_workers(how: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(_SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(Path(reader.__file__).parents[1])}
    program = subprocess.Popen(
        [sys.executable, str(script), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert program.stdout is not None
    pids = [int(pid) for pid in program.stdout.readline().split()]
    assert len(pids) == 2
    if how == "SIGINT":
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to the whole group
    elif how == "SIGKILL":
        program.kill()
    try:
        _, errors = program.communicate(timeout=30)
    finally:
        program.kill()  # where it hangs; its workers follow it
    wait_until_gone(pids)
    if how == "SIGINT":
        assert program.returncode == -signal.SIGINT
        assert len(re.findall("Traceback", errors)) == 1  # the program's own; workers say nothing
    elif how == "exit":
        assert (program.returncode, errors) == (0, "")


def test_workers_outlive_a_terminate_signal_to_the_group() -> None:
    with closing(prefetch(about_worker, range(10**9), 2)) as results:
        pids = [next(results)[0], next(results)[0]]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        assert {next(results)[0] for _ in range(20)} == set(pids)


@pytest.mark.parametrize(
    ("make", "initializer", "initargs"),
    [
        (lambda index: index, None, ()),
        (abs, lambda: None, ()),
        (abs, set_scale, (threading.Lock(),)),
    ],
)
def test_what_cannot_travel_is_refused_before_any_process_starts(
    make: Callable[[int], int],
    initializer: Callable[..., None] | None,
    initargs: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = record_started(monkeypatch)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError), match=r"pickle|local"):
        next(prefetch(make, range(3), 2, initializer=initializer, initargs=initargs))
    assert started == []
    assert not multiprocessing.active_children()


def test_processes_that_start_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would pass if nothing were recorded."""
    started = record_started(monkeypatch)
    assert list(prefetch(abs, range(3), 2)) == [0, 1, 2]
    assert len(set(started)) == 2
