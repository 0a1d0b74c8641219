"""The plan of a table, as data: its rows are recipes, and every row is pre-trained and fine-tuned once per seed.

`configs/tables/` holds the tables, and `configs/sizes/` the settings that a size replaces in the recipes of a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.pretraining.recipe import AMOUNTS
from ernie_paddle.yaml_configs import configs_dir, read_yaml
from propeller.settings import from_mapping, unknown_name

_T = TypeVar("_T")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        title: Name of the row in the table.
        recipe: Recipe to pre-train; None: fine-tuning starts from random weights.
        set: Settings of the recipe to replace.
        parts: Parts of the table that show the row; empty: all of them.
        paper: Average reported by the paper.
    """

    title: str
    recipe: str | None = None
    set: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    paper: float | None = None


@dataclass(frozen=True)
class TableConfig:
    """A table of a paper.

    Attributes:
        title: Heading.
        rows: Rows by name, in order.
        benchmarks: GLUE benchmarks that the paper fine-tunes on, used if available.
        arch: Architecture of the row without pre-training, if the size names none.
        warmup: Fraction of the updates in which the learning rate rises, at reduced sizes.
        evaluations: Number of held-out evaluations of a run.
        reduced: Settings of every recipe to replace at reduced sizes, in addition to those of the size.
        parts: Headings by the name of the part; empty: the table has one part.
        baseline: Row with which the averages of others are compared.
        curves: Whether the held-out metrics of all tasks over the steps are tabulated and plotted.
    """

    title: str
    rows: dict[str, Row]
    benchmarks: list[str]
    arch: str
    warmup: float
    evaluations: int = 1
    reduced: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    baseline: str | None = None
    curves: bool = False


@dataclass(frozen=True)
class FinetuneSettings:
    """Fine-tuning of every benchmark: options of `ernie finetune`, and the maximum of training rows (None: all)."""

    epochs: int
    batch_size: int
    lr: float
    max_length: int
    rows: int | None = None

    def options(self) -> dict[str, Any]:
        """The options of `ernie finetune`."""
        return {name: value for name, value in vars(self).items() if name != "rows"}


@dataclass(frozen=True)
class SizeConfig:
    """Settings that a size replaces in the recipes; without `arch` and `set`, the recipes are those of the papers.

    Attributes:
        vocab_size: Number of pieces of the vocabulary that is trained on the text.
        finetune: Fine-tuning of benchmarks.
        arch: Name of a file in configs/arch.
        set: Settings to replace.
        steps: Updates of a pre-training run, by table.
    """

    vocab_size: int
    finetune: FinetuneSettings
    arch: str | None = None
    set: list[str] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TableRun:
    """One pre-training run (`benchmark` is None), or one fine-tuning run."""

    row: str
    seed: int
    benchmark: Benchmark | None

    @property
    def kind(self) -> str:
        """The kind of the run; runs of a kind take about the same time."""
        return self.benchmark.name if self.benchmark else "pre-training"

    @property
    def title(self) -> str:
        """The name of the run in messages."""
        return f"{self.row}, seed {self.seed}, {self.kind}"

    def folder(self, output: Path) -> Path:
        """The run's folder."""
        return output / "runs" / self.row / f"seed-{self.seed}" / self.kind


@dataclass(frozen=True)
class TablePlan:
    """All runs of a table.

    Attributes:
        name: Name of the table.
        table: Configuration of the table, with the selected rows.
        size: Settings of the size.
        size_name: Name of the size.
        steps: Updates of a pre-training run; None: as many as in the recipe.
        seeds: Seeds of the runs.
        benchmarks: Benchmarks to fine-tune on.
    """

    name: str
    table: TableConfig
    size: SizeConfig
    size_name: str
    steps: int | None
    seeds: Sequence[int]
    benchmarks: Sequence[Benchmark]

    @cached_property
    def trials(self) -> list[list[TableRun]]:
        """The runs of each row and seed, pre-training first; all rows of a seed come before the next seed."""
        tuned = [None, *self.benchmarks]
        return [
            [TableRun(name, seed, item) for item in tuned if item or row.recipe]
            for seed in self.seeds
            for name, row in self.table.rows.items()
            if row.recipe or self.benchmarks
        ]

    def overrides(self, run: TableRun) -> list[str]:
        """The settings that replace those of the row's recipe, in the format of `--set`."""
        row, size = self.table.rows[run.row], self.size
        given = [*([f"arch={size.arch}"] if size.arch else []), *size.set]
        if size.set:
            given += self.table.reduced
        given += [*row.set, f"train.seed={run.seed}"]
        steps = self.steps
        if steps is not None:
            given += [
                *(f"schedule.{amount}=null" for amount in AMOUNTS),
                f"schedule.total_steps={steps}",
                f"train.learning_rate.warmup_steps={max(1, round(self.table.warmup * steps))}",
                f"train.eval_every={math.ceil(steps / self.table.evaluations)}",
            ]
        return given

    def recipe_of(self, run: TableRun) -> str:
        """The pre-training recipe of a run."""
        recipe = self.table.rows[run.row].recipe
        assert recipe is not None
        return recipe

    def finetune_options(self, run: TableRun, train: Path, dev: Path, vocab: Path, folder: Path) -> dict[str, Any]:
        """Options of a fine-tuning run except `model`, which is the last checkpoint of its row."""
        assert run.benchmark is not None
        options = {**run.benchmark.settings(), **self.size.finetune.options(), "train": str(train), "dev": str(dev)}
        options |= {"output": str(folder), "seed": run.seed}
        if self.table.rows[run.row].recipe is None:
            options |= {"size": self.size.arch or self.table.arch, "vocab": str(vocab)}
        return options

    def settings(self, run: TableRun) -> dict[str, Any]:
        """Everything that affects the result of a run except its data; the result of other settings is not reused."""
        row = self.table.rows[run.row]
        plain: dict[str, Any] = {"recipe": row.recipe, "set": self.overrides(run) if row.recipe else []}
        if run.benchmark:
            plain["finetune"] = vars(self.size.finetune)
        return plain


def table_names() -> list[str]:
    """Names of the tables."""
    return sorted(path.stem for path in (configs_dir() / "tables").glob("*.yaml"))


def size_names() -> list[str]:
    """Names of the sizes."""
    return sorted(path.stem for path in (configs_dir() / "sizes").glob("*.yaml"))


def load_table(name: str, rows: Sequence[str] | None = None) -> TableConfig:
    """Load a table by its name or from a .yaml file, with all of its rows or the selected ones.

    Raises:
        UserError: There is no such table or row, or the file is damaged.
    """
    table = _load(TableConfig, "tables", "table", name, table_names())
    if rows is None:
        return table
    for row in rows:
        if row not in table.rows:
            raise unknown_name("row", row, table.rows, "--rows")
    kept = {row: table.rows[row] for row in table.rows if row in rows}
    return TableConfig(**{**vars(table), "rows": kept})


def load_size(name: str) -> SizeConfig:
    """Load a size by its name or from a .yaml file.

    Raises:
        UserError: There is no such size, or the file is damaged.
    """
    return _load(SizeConfig, "sizes", "size", name, size_names())


def _load(cls: type[_T], folder: str, kind: str, name: str, known: Sequence[str]) -> _T:
    path = Path(name) if name.endswith(".yaml") else configs_dir() / folder / f"{name}.yaml"
    if not name.endswith(".yaml") and name not in known:
        raise unknown_name(kind, name, known, "tables")
    return from_mapping(cls, read_yaml(path), str(path))
