"""The file that a verb is to write, looked at before the work."""

from __future__ import annotations

from pathlib import Path

from propeller.errors import UserError


def check_output(path: Path | None) -> None:
    """Refuse, before the work, a place where no file can be; None: no file is wanted.

    Raises:
        UserError: it is a folder, or in a folder that does not exist.
    """
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"--output {path}: this is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.parent}; make it first")
