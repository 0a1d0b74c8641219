"""The choice of rows of a table: those with a given value in a column, such as a language, and those with a label."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from reader.errors import DataError
from reader.tables.cells import UnusableCellError, label_name
from reader.tables.table import Row, column_names


@dataclass(frozen=True)
class Where:
    """The condition that a column has a value; numbers and booleans of JSON are compared as JSON writes them.

    The column `a|b` is the first of these columns that a row has.
    """

    column: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Where:
        """The condition that is written as `column=value`.

        Raises:
            DataError: the text is not written so.
        """
        column, equals, value = (part.strip() for part in text.partition("="))
        if not (column and equals and value):
            raise DataError(f"--where {text}: write it as COLUMN=VALUE, for example language=zh")
        return cls(column, value)

    def other(self, row: Row) -> str | None:
        """The value of a row that differs from the wanted one; None if it does not, or is unusable or missing."""
        if row.problem or not self.concerns(row):
            return None
        cell: Any = row.cells[next(name for name in column_names(self.column) if name in row.cells)]
        value = cell.strip() if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
        return None if value == self.value else value

    def concerns(self, row: Row) -> bool:
        """Whether a row has the column."""
        return any(name in row.cells for name in column_names(self.column))

    def marked(self, rows: Iterable[Row]) -> Iterator[Row]:
        """All rows; a row with another value becomes unusable, with this as its problem."""
        for row in rows:
            other = self.other(row)
            if other is None:
                yield row
            else:
                problem = f"skipped: {self.column} is {other!r}, not {self.value!r}"
                yield Row(row.line, problem=problem, part=row.part)


@dataclass(frozen=True)
class NoLabel:
    """Labels that mean that a row has no label, such as `-` where annotators did not agree."""

    column: str
    names: tuple[str, ...]

    def means(self, row: Row) -> bool:
        """Whether the label of this row is one of them; False if the row is unusable or its label is missing."""
        try:
            return not row.problem and bool(self.names) and label_name(row.cells.get(self.column)) in self.names
        except UnusableCellError:
            return False


class Selection:
    """The chosen rows of a table; the others are counted while the rows are read.

    Args:
        rows: rows of a table.
        where: condition that rows must meet; None for no condition.
        no_label: labels that mean that a row has no label; None to choose rows with any label.
    """

    def __init__(self, rows: Iterable[Row], where: Where | None, no_label: NoLabel | None = None) -> None:
        self._rows = rows
        self._where = where
        self._no_label = no_label
        self._taken = self._passed_over = self._without = self._unlabelled = 0

    @property
    def unlabelled(self) -> int:
        """Number of rows that meet the condition but were skipped because they have no label."""
        return self._unlabelled

    def __iter__(self) -> Iterator[Row]:
        """The chosen rows; a row without the column of the condition is one of them."""
        for row in self._rows:
            if self._where is not None and self._where.other(row) is not None:
                self._passed_over += 1
                continue
            if self._no_label is not None and self._no_label.means(row):
                self._unlabelled += 1
                continue
            self._taken += 1
            self._without += self._where is not None and not row.problem and not self._where.concerns(row)
            yield row

    def describe(self) -> str:
        """The numbers of skipped rows and of rows that lack the column, in brackets; "" if there are none."""
        said = []
        if self._where is not None:
            if self._passed_over or not self._without:
                said.append(f"{self._passed_over:,} skipped: {self._where.column} is not {self._where.value}")
            if self._without:
                which = f"{self._without:,} rows" if self._passed_over or self._without < self._taken else "taken whole"
                said.append(f"{which}: no column {self._where.column}")
        if self._no_label is not None and self._unlabelled:
            said.append(f"{self._unlabelled:,} skipped: their label is {' or '.join(self._no_label.names)}")
        return f" ({'; '.join(said)})" if said else ""

    def require_any(self, name: str) -> None:
        """Refuse a table of which no row was chosen.

        Raises:
            DataError: all rows were skipped.
        """
        if self._no_label is not None and self._unlabelled and not self._taken:
            names = ", ".join(self._no_label.names)
            raise DataError(f"{name}: none of its rows has a label: {self._unlabelled:,} have {names} (--no_label)")
        if self._where is not None and self._passed_over and not self._taken:
            raise DataError(
                f"{name}: none of its {self._passed_over:,} rows has {self._where.value!r} in the column "
                f"{self._where.column!r} (--where)"
            )
