"""Batches that worker processes make ahead of time, and that are returned in order.

Workers are new interpreters (spawn): they hold no copy of a GPU context and never import Paddle unless the function
that they run does. Each worker has one pipe. Item i goes to worker i modulo the number of workers, so the next result
always comes from a known pipe, and a broken pipe means that its worker has died. A worker whose parent has ended in any
way reads the end of its pipe and exits.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PATIENCE = 2.0  # seconds that a worker gets to exit by itself


def prefetch(
    make: Callable[[int], T],
    indices: Iterable[int],
    workers: int,
    ahead: int = 0,
    *,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Generator[T, None, None]:
    """Yield `make(i)` for each i of `indices`, in their order, computed by worker processes.

    Args:
        make: a function of a module, or an object of a class with `__call__`. With workers it must pickle: it is sent
            to each worker once, with its attributes (a BatchPlan is sent as numbers and paths).
        indices: the items, which may be endless; up to `ahead` of them are read before their results are needed.
        workers: number of processes; 0 computes each result in this process when it is needed, with the same results.
        ahead: largest number of results that are being computed or waiting; 0 means 2 per worker.
        initializer: called as `initializer(*initargs)` in each worker (or here, with 0) before the first `make`.

    The processes start with the first `next` and end when the generator is exhausted, closed, or ended by an exception;
    close the generator (`contextlib.closing`) where it is not read to the end. Workers import the main script of the
    program again: the script must guard its work by `if __name__ == "__main__"` and should keep its imports light.

    Raises:
        RuntimeError: a worker died; the message says which worker, how, and at which item.
        Exception: the error that `make` or the initializer raised, with the worker's traceback as its cause.
    """
    if workers == 0:
        if initializer is not None:
            initializer(*initargs)
        for index in indices:
            yield make(index)
        return
    pool = _Workers(workers, (make, initializer, initargs))
    try:
        yield from pool.results(iter(indices), ahead or 2 * workers)
    finally:
        pool.close()


class _Workers:
    """The processes and their pipes."""

    def __init__(self, count: int, job: tuple[Any, ...]) -> None:
        payload = bytes(ForkingPickler.dumps(job))  # a job that cannot be pickled fails here, before any process starts
        self.pipes: list[Connection[Any, Any]] = []
        self.processes: list[SpawnProcess] = []
        atexit.register(self.close)  # otherwise the interpreter would wait for workers that wait for the interpreter
        try:
            with _quiet_start():
                context = multiprocessing.get_context("spawn")
                for number in range(count):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_work, args=(theirs,), name=f"data-worker-{number}", daemon=True)
                    process.start()
                    theirs.close()  # the worker's end now lives in the worker alone
                    self.pipes.append(ours)
                    self.processes.append(process)
            for pipe in self.pipes:
                with suppress(OSError):  # a dead worker is noticed when its result is wanted
                    pipe.send_bytes(payload)
        except BaseException:
            self.close()
            raise

    def results(self, indices: Iterator[int], ahead: int) -> Iterator[Any]:
        waiting: deque[tuple[int, int]] = deque()  # (worker, index), in the order of the results
        sent = 0
        more = True
        while True:
            while more and len(waiting) < ahead:
                index = next(indices, None)
                if index is None:
                    more = False
                    break
                number = sent % len(self.pipes)
                # A worker may be dead by now with good results in its pipe: these are still read, in their turn.
                with suppress(OSError):
                    self.pipes[number].send(index)
                waiting.append((number, index))
                sent += 1
            if not waiting:
                return
            number, index = waiting.popleft()
            try:
                error, value, trace = self.pipes[number].recv()
            except (EOFError, OSError):
                raise self._death(number, index) from None
            if error is not None:
                raise error from _WorkerTraceback(trace)
            yield value

    def _death(self, number: int, index: int) -> RuntimeError:
        process = self.processes[number]
        process.join(_PATIENCE)
        code = process.exitcode
        if code is None:
            how = "closed its pipe"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            how += " (often because the machine ran out of memory)" if -code == signal.SIGKILL else ""
        else:
            how = f"ended with exit code {code} (its last output is above)"
        return RuntimeError(
            f"data worker {number} of {len(self.processes)} (process {process.pid}) {how} before item {index} "
            "arrived; use fewer workers, or 0 workers to see the error in this process"
        )

    def close(self) -> None:
        """End all workers, and wait until they have ended."""
        atexit.unregister(self.close)
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.kill()  # workers have nothing to save
        for process in self.processes:
            process.join()


class _WorkerTraceback(Exception):  # noqa: N818 (shown as the cause of an error, never raised)
    """The traceback of an error in a worker, as text."""

    def __str__(self) -> str:
        return f"\nin a data worker:\n{self.args[0]}"


@contextmanager
def _quiet_start() -> Iterator[None]:
    """A context in which processes start: they inherit one thread for each numeric library, and Ctrl-C waits."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    # Blocked signals stay blocked in the child until it ignores them; in this process they arrive when the block ends.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work(pipe: Connection[Any, Any]) -> None:
    """The main function of a worker: it reads the job, then item numbers, until the pipe ends."""
    # Ctrl-C and a scheduler's SIGTERM go to the whole group: the parent handles them, and may still need batches.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    # A full pipe must not stop the work: finished results, as many as the parent has asked for, wait here.
    ready: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_send, args=(pipe, ready), daemon=True).start()
    with suppress(EOFError, OSError):  # the parent has closed the pipe or is gone
        payload = pipe.recv_bytes()
        make = _prepare(payload)
        while True:
            ready.put(_outcome(make, pipe.recv()))


def _send(pipe: Connection[Any, Any], ready: queue.SimpleQueue[bytes]) -> None:
    with suppress(OSError):
        while True:
            pipe.send_bytes(ready.get())


def _prepare(payload: bytes) -> Callable[[int], Any]:
    """The function to run; if it cannot be unpickled or initialised, one that raises that error for every item."""
    try:
        make, initializer, initargs = pickle.loads(payload)
        if initializer is not None:
            initializer(*initargs)
    except Exception as error:
        return partial(_raise, error)
    return make  # type: ignore[no-any-return]


def _raise(error: Exception, index: int) -> NoReturn:
    raise error


def _outcome(make: Callable[[int], Any], index: int) -> bytes:
    try:
        return bytes(ForkingPickler.dumps((None, make(index), "")))
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> bytes:
    trace = "".join(traceback.format_exception(error))
    try:
        message = bytes(ForkingPickler.dumps((error, None, trace)))
        pickle.loads(message)  # some exceptions can be pickled, but not unpickled
    except Exception:
        print(trace, file=sys.stderr, flush=True)
        message = bytes(ForkingPickler.dumps((RuntimeError(f"{type(error).__name__}: {error}"), None, trace)))
    return message
