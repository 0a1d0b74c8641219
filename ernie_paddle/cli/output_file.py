"""Check of a verb's output file before the work starts."""

from __future__ import annotations

from pathlib import Path

from propeller.errors import UserError


def check_output(path: Path | None) -> None:
    """Refuse a path where no file can be written; None means that no file is wanted.

    Raises:
        UserError: The path is a folder, or in a folder that does not exist.
    """
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"--output {path}: this is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.parent}; create it first")
