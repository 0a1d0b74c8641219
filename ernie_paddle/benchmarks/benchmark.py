"""A published benchmark as data: files in the layout of its download, and the matching options of `ernie finetune`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from propeller.errors import UserError
from reader.errors import DataError
from reader.tables.table import Row, open_table


@dataclass(frozen=True)
class TestTable:
    """A table to predict, for a submission if the suite has one.

    Attributes:
        files: Possible names of the file, as in `Benchmark.train`.
        options: Options of `ernie predict`, if the columns differ from those of the training table.
        id: Column that identifies the rows; None: rows are numbered from 0.
        scores: For a diagnostic set, the metrics that are reported if the table has labels.
    """

    __test__ = False  # tells pytest that this class is not a test

    files: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    id: str | None = "index"
    scores: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """One task of a suite.

    Attributes:
        name: Name of the benchmark.
        options: Options of `ernie finetune` that describe the tables.
        headerless: Options that apply instead if the first rows of the tables do not name the columns, as in some
            copies; empty: `options` fit all copies.
        metrics: Reported metrics; the first one selects the best checkpoint.
        folders: Possible names of its folder.
        train: Possible names of the training table in the folder; each may also end in .gz.
        dev: Development tables by name; the first one selects the best checkpoint, the others are evaluated too.
        average_all: Whether the task's score is the mean over all development tables instead of that of the first.
        test: Tables to predict, by the name of the submission's file.
        answers: Names of the labels in the submission, if they differ.
        advice: How to obtain a missing file, if there is more to say.
    """

    name: str
    options: dict[str, Any]
    metrics: list[str]
    folders: list[str]
    headerless: dict[str, Any] = field(default_factory=dict)
    train: list[str] = field(default_factory=lambda: ["train.tsv"])
    dev: dict[str, list[str]] = field(default_factory=lambda: {"dev": ["dev.tsv"]})
    average_all: bool = False
    test: dict[str, TestTable] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    advice: str = ""

    @property
    def type(self) -> str:
        """The task type."""
        return str(self.options["type"])

    @property
    def header(self) -> bool:
        """Whether the tables' first rows name the columns."""
        return bool(self.options.get("header", True))

    def as_in(self, table: Path) -> Benchmark:
        """This benchmark with the options that fit a copy; the table shows whether its first row names the columns.

        A table that cannot be read changes nothing; the error is raised when the table is used.
        """
        if not self.headerless or not table.is_file():
            return self
        try:
            with open_table(table, str(self.options.get("format", "auto")), header=False) as opened:
                first = next(opened.rows, Row(1))
        except DataError:
            return self
        known = {str(self.options[option]) for option in self.headerless}
        if not first.cells or known.intersection(first.cells.values()):
            return self
        return replace(self, options={**self.options, **self.headerless, "header": False})

    def settings(self) -> dict[str, Any]:
        """The options of fine-tuning that describe the tables and select the metric."""
        return {**self.options, "metric": self.metrics[0]}

    def arguments(self) -> list[str]:
        """The `settings` as words of a command line."""
        return option_words(self.settings())

    def tables(self, data_dir: Path) -> tuple[Path, Path]:
        """The training table and the development table that selects the best checkpoint.

        Raises:
            UserError: One of them is missing.
        """
        name = next(iter(self.dev))
        train, dev = self._find(data_dir, self.train), self._find(data_dir, self.dev[name])
        missing = [_named(files) for files, path in ((self.train, train), (self.dev[name], dev)) if path is None]
        if train is None or dev is None:
            raise UserError(
                f"{self.name}: {' and '.join(missing)} not found; the folder {data_dir / self.folders[0]} must contain "
                f"{self.layout()} (each may be packed as .gz)" + (f"; {self.advice}" if self.advice else "")
            )
        return train, dev

    def more_dev(self, data_dir: Path) -> dict[str, Path]:
        """The existing development tables except the first."""
        found = {name: self._find(data_dir, files) for name, files in list(self.dev.items())[1:]}
        return {name: path for name, path in found.items() if path}

    def tests(self, data_dir: Path) -> dict[str, Path | None]:
        """The tables to predict; None for a missing one."""
        return {name: self._find(data_dir, table.files) for name, table in self.test.items()}

    def layout(self) -> str:
        """A description of the files that the folder must contain."""
        needed = [_named(files) for files in (self.train, *self.dev.values())]
        tests = [_named(table.files) for table in self.test.values()]
        return ", ".join(needed) + (f", and for predictions {', '.join(tests)}" if tests else "")

    def _find(self, data_dir: Path, files: Sequence[str]) -> Path | None:
        for folder in self.folders:
            for file in files:
                for path in (data_dir / folder / file, data_dir / folder / f"{file}.gz"):
                    if path.is_file():
                        return path
        return None


def _named(files: Sequence[str]) -> str:
    """A file with all its possible names."""
    return " or ".join(files)


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line: yes and no as `--x` and `--no_x`, lists with commas, None omitted."""
    words = []
    for name, value in options.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no_{name}")
        elif value is not None:
            shown = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += [f"--{name}", shown]
    return words
