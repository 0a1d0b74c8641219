"""The folder of a run: a lock, so that only one process uses the folder, and the removal of a run's files."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

from propeller.errors import UserError
from propeller.run import checkpoint

CHECKPOINTS = "checkpoints"
LOG = "log.jsonl"
CURVES = "curves.png"
VDL = "vdl"
LOCK = ".lock"


class FolderLock:
    """Locks a run's folder for this process, until the lock is released or the process ends in any way.

    The lock file is not removed, since two processes could then lock two files of the same name. The lock is not
    reentrant.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Lock the folder, which is created if it is missing; nothing happens if this object holds the lock already.

        Raises:
            UserError: another process uses the folder, or the folder cannot be written.
        """
        if self._file is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - kept open: it is the lock
        except OSError as error:
            raise UserError(f"{self.folder}: a run cannot be written there ({error.strerror or error})") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "not known"
            file.close()
            raise UserError(
                f"{self.folder} is in use by another process (pid {owner}); wait for it, stop it, or choose another "
                "output folder"
            ) from None
        except OSError as error:
            # Some network file systems have no locks, which does not prevent a run there.
            print(
                f"warning: {self.folder} cannot be locked ({error.strerror}): do not start a second run there",
                file=sys.stderr,
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Release the lock; nothing happens if this object does not hold it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def discard(folder: Path) -> None:
    """Remove the files that a Trainer wrote into `folder`, and no others; nothing happens if there is no such folder.

    Raises:
        UserError: another process uses the folder.
    """
    if not folder.is_dir():
        return
    with FolderLock(folder):
        checkpoint.discard(folder / CHECKPOINTS)
        for name in (LOG, f".tmp-{LOG}", CURVES):
            (folder / name).unlink(missing_ok=True)
        records = folder / VDL
        if records.is_dir() and not records.is_symlink():
            for path in records.glob("vdlrecords.*"):
                path.unlink()
            if not any(records.iterdir()):
                records.rmdir()
