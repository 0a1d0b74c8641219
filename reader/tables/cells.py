"""The texts and labels in the cells of a labelled table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from reader.tables.table import Row


class UnusableCellError(ValueError):
    """A cell is unusable; the message says why. Callers report it with file and line."""


def text_problem(row: Row, text_a: str, text_b: str | None) -> str:
    """The reason why the texts of a row are unusable; "" if they are usable."""
    for role, column in (("text_a", text_a), ("text_b", text_b)):
        if column is None:
            continue
        cell = row.cells.get(column)
        if cell is None:
            return f"{role} is missing: there is no {column!r}"
        if not isinstance(cell, str):
            return f"{role} ({column!r}) is not a text but {type(cell).__name__}"
        if not cell.strip():
            return f"{role} ({column!r}) is empty"
    return ""


def label_name(cell: Any) -> str:
    """The label that a cell holds, as text (JSON numbers and booleans as JSON writes them).

    Raises:
        UnusableCellError: the cell holds no label.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise UnusableCellError("the label is missing")
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, (bool, int, float)):
        return json.dumps(cell)
    raise UnusableCellError(f"a label must be a text or a number, found {type(cell).__name__}")


def sorted_labels(names: Iterable[str]) -> list[str]:
    """The distinct labels, in numerical order if all are whole numbers, else in alphabetical order."""
    found = set(names)
    whole = all(re.fullmatch(r"-?\d+", name) for name in found)
    return sorted(found, key=lambda name: (int(name) if whole else 0, name))
