"""Worker processes for preparation: new interpreters (spawn) that get one task at a time and are always stopped.

A worker loads only modules of `reader`, not the main program, so that it starts in a fraction of a second and never
imports Paddle.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from reader.errors import DataError

_STOP_SECONDS = 5.0


def run_tasks(
    setup: Callable[[Any], Callable[[Any], Any]], argument: Any, tasks: Iterable[Any], workers: int
) -> Generator[Any, None, None]:
    """Results of `setup(argument)(task)` for each task, in the order in which they are finished.

    Args:
        setup: a function of a module (not of the main program), called once in each process.
        argument: argument of `setup`.
        tasks: the tasks, read lazily; about one task per worker is in memory.
        workers: number of processes; 0 works in this process.

    Raises:
        DataError: a task raised it, or a worker died.
        RuntimeError: a task failed with another error; the message holds its traceback.
    """
    if workers == 0:
        work = setup(argument)
        for task in tasks:
            yield work(task)
        return
    context = multiprocessing.get_context("spawn")
    pipes: dict[Any, Any] = {}
    try:
        with _main_hidden():
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, setup, argument), daemon=True)
                process.start()
                theirs.close()
                pipes[ours] = process
        yield from _hand_out(pipes, iter(tasks))
    finally:
        _stop(pipes)


def _hand_out(pipes: dict[Any, Any], tasks: Iterator[Any]) -> Iterator[Any]:
    busy: set[Any] = set(pipes)  # until a worker says that it is ready
    done = object()
    task = next(tasks, done)
    while busy or task is not done:
        for pipe in multiprocessing.connection.wait(list(busy)):
            kind, result = _receive(pipe, pipes[pipe])
            busy.discard(pipe)
            if task is not done:
                _send(pipe, task, pipes[pipe])
                busy.add(pipe)
                task = next(tasks, done)
            if kind == "result":
                yield result


def _send(pipe: Any, task: Any, process: Any) -> None:
    try:
        pipe.send(task)
    except (BrokenPipeError, ConnectionResetError):
        raise _death(process) from None


def _receive(pipe: Any, process: Any) -> tuple[str, Any]:
    try:
        kind, result = pipe.recv()
    except (EOFError, ConnectionResetError):
        raise _death(process) from None
    if kind == "data":
        raise DataError(result)
    if kind == "error":
        raise RuntimeError(f"a worker process failed:\n{result}")
    return kind, result


def _death(process: Any) -> DataError:
    process.join(_STOP_SECONDS)
    code = process.exitcode
    hint = " (killed; perhaps the memory ran out: use fewer workers)" if code == -signal.SIGKILL else ""
    return DataError(f"a worker process died with exit code {code}{hint}; run the same command again to resume")


def _stop(pipes: dict[Any, Any]) -> None:
    for pipe, process in pipes.items():
        pipe.close()  # an idle worker ends by itself
        if process.is_alive():
            process.terminate()
    for process in pipes.values():
        process.join(_STOP_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def describe_os_error(error: OSError) -> str:
    """One line about a file or disk that failed."""
    return f"{error.filename or 'a file'}: {error.strerror or error}"


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keeps spawned processes from loading the main program, which may import Paddle, by its file or name."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    main.__spec__ = None
    if file is not None:
        del main.__file__
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file


def _serve(pipe: Any, setup: Callable[[Any], Callable[[Any], Any]], argument: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        work = setup(argument)
        pipe.send(("ready", None))
        while True:
            pipe.send(("result", work(pipe.recv())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone or needs no more results
    except DataError as error:
        pipe.send(("data", str(error)))
    except OSError as error:
        pipe.send(("data", describe_os_error(error)))
    except Exception:
        pipe.send(("error", traceback.format_exc()))
