"""What a table takes, as data: its rows are recipes, and every row is pre-trained and fine-tuned once per seed.

`configs/tables/` holds the tables and `configs/sizes/` what a size replaces in the recipes of a table.
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
        title: what the table calls it.
        recipe: what is pre-trained; None: nothing, fine-tuning starts from random weights.
        set: settings of the recipe to replace.
        parts: the parts of the table that show it; empty: all of them.
        paper: the average that the paper reports.
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
        title: heading.
        rows: by name, in their order.
        benchmarks: those of GLUE that the paper fine-tunes on, as far as they are there.
        arch: architecture of the row that is not pre-trained, where the size names none.
        warmup: share of the updates over which the learning rate grows, at reduced sizes.
        evaluations: how often a run evaluates the held-out text.
        reduced: settings of every recipe to replace at reduced sizes, beside those of the size.
        parts: headings by the name of the part; empty: the table has one part.
        baseline: row that the averages of others are compared with.
        curves: whether the held-out metrics of all tasks over the steps are tabled and drawn.
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
    """How every benchmark is fine-tuned: options of `ernie finetune`, and the most rows to train on (None: all)."""

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
    """What a size replaces in the recipes; without `arch` and `set` they stay as the papers have them.

    Attributes:
        vocab_size: pieces of the vocabulary that is trained on the text.
        finetune: how benchmarks are fine-tuned.
        arch: name in configs/arch.
        set: settings to replace.
        steps: updates of a pre-training run, by table.
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
        """What runs of like duration have in common."""
        return self.benchmark.name if self.benchmark else "pre-training"

    @property
    def title(self) -> str:
        """The run in a message."""
        return f"{self.row}, seed {self.seed}, {self.kind}"

    def folder(self, output: Path) -> Path:
        """The run's folder."""
        return output / "runs" / self.row / f"seed-{self.seed}" / self.kind


@dataclass(frozen=True)
class TablePlan:
    """All runs of a table.

    Attributes:
        name: of the table.
        table: its configuration, with the rows that are wanted.
        size: how large.
        size_name: its name.
        steps: updates of a pre-training run; None: as many as the recipe says.
        seeds: of the runs.
        benchmarks: to fine-tune on.
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
        """The settings that replace those of the row's recipe, as `--set` takes them."""
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
        """The recipe that a run is pre-trained with."""
        recipe = self.table.rows[run.row].recipe
        assert recipe is not None
        return recipe

    def finetune_options(self, run: TableRun, train: Path, dev: Path, vocab: Path, folder: Path) -> dict[str, Any]:
        """Options of a fine-tuning run but for `model`, which is the last checkpoint of its row."""
        assert run.benchmark is not None
        options = {**run.benchmark.settings(), **self.size.finetune.options(), "train": str(train), "dev": str(dev)}
        options |= {"output": str(folder), "seed": run.seed}
        if self.table.rows[run.row].recipe is None:
            options |= {"size": self.size.arch or self.table.arch, "vocab": str(vocab)}
        return options

    def settings(self, run: TableRun) -> dict[str, Any]:
        """What decides the result of a run beside its data: a finished run with other settings is another run."""
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
    """A table by its name or a .yaml file, with all of its rows or those named.

    Raises:
        UserError: no such table or row, or a damaged file.
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
    """A size by its name or a .yaml file.

    Raises:
        UserError: no such size, or a damaged file.
    """
    return _load(SizeConfig, "sizes", "size", name, size_names())


def _load(cls: type[_T], folder: str, kind: str, name: str, known: Sequence[str]) -> _T:
    path = Path(name) if name.endswith(".yaml") else configs_dir() / folder / f"{name}.yaml"
    if not name.endswith(".yaml") and name not in known:
        raise unknown_name(kind, name, known, "tables")
    return from_mapping(cls, read_yaml(path), str(path))
