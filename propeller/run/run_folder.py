"""The folder of a run: one process at a time works in it, and what a run leaves there can be thrown away."""

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
    """Keeps a run's folder for this process, until it is released or the process ends in whatever way.

    The file stays: removing it could let two processes lock two files of the same name. Reentrant it is not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the folder, which is made if need be; nothing happens if this object has it already.

        Raises:
            UserError: another process works there, or the folder cannot be written.
        """
        if self._file is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - kept open: it is the lock
        except OSError as error:
            raise UserError(f"{self.folder}: a run cannot be kept there ({error.strerror or error})") from error
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
            # Some network file systems have no locks: no reason not to train there.
            print(
                f"warning: {self.folder} cannot be locked ({error.strerror}): start no second run there",
                file=sys.stderr,
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the folder back; nothing happens if this object does not have it."""
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
    """Remove what a Trainer wrote into `folder`, and nothing else; a folder that is not there is left so.

    Raises:
        UserError: a run is working there.
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
