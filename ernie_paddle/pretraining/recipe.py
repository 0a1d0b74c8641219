"""Recipes: one YAML file names the architecture, the data, the training settings, the tasks and their schedule.

``configs/`` holds ``arch/``, ``data/`` and ``train/`` (never mixed) and ``recipes/``, which compose them: in a
recipe, ``arch``, ``data`` and ``train`` are each the name of a file in their folder, or the settings themselves. A
recipe may name another one as ``base``, whose sections are taken where it has none of its own.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from propeller.graph.optim import OptimizerConfig
from propeller.graph.precision import PrecisionConfig
from propeller.settings import unknown_name

JOINED = "+"
"""Joins the names of tasks whose losses are summed."""
SCHEDULES = {
    "sum": "all tasks in every step, their losses summed (On Losses, 3.3)",
    "incremental": "stage i sums the losses of tasks 1 to i; stages of equal length (On Losses, 3.3)",
    "alternating": "one task after the other, another one at every step (On Losses, 3.3)",
    "alternating_plus": "the tasks but the first alternate, each summed with the first (On Losses, 3.3)",
    "cmtl": "continual multi-task: one more task in every stage, earlier ones kept in training (ERNIE 2.0)",
    "cmtl_plus": "continual multi-task over the tasks but the first, each summed with the first (On Losses, 3.3)",
    "multi_task": "all tasks from the start, one drawn at every step (ERNIE 2.0, Table 7)",
    "sequential": "one task after the other, each in a stage of its own (ERNIE 2.0, Table 7)",
    "table": "stages written by hand: the steps of each task, or of a sum of tasks such as mlm+nsp",
}
"""What a recipe may name as ``schedule.kind``, in a line each."""

AMOUNTS = ("steps_per_task", "total_steps", "tokens_per_task", "total_tokens")
"""Settings of a schedule of which one is given."""


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, found {value}")


@dataclass(frozen=True)
class CorpusConfig:
    """One prepared corpus (the output of ``ernie prepare``) and how often an epoch goes through it."""

    path: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight must be above 0, found {self.weight}")


@dataclass(frozen=True)
class DataConfig:
    """What is read: corpora, the length of a row in tokens, and how rows are binned by length."""

    corpora: list[CorpusConfig] = field(default_factory=list)
    max_length: int = 512
    min_tokens: int = 8
    bin_width: int = 32

    def __post_init__(self) -> None:
        for name, least in (("max_length", 8), ("min_tokens", 1), ("bin_width", 1)):
            _at_least(name, getattr(self, name), least)


@dataclass(frozen=True)
class LearningRateConfig:
    """Shape of the learning rate; ``per: task`` gives every task its own warm-up (ERNIE 2.0, Pre-training Settings).

    ``total_steps`` is where "linear" and "cosine" reach 0, if it is not the last step: for a run that another one
    continues with ``per: task``, such as BERT's phase of short rows.
    """

    kind: Literal["linear", "noam", "constant", "cosine"] = "noam"
    peak: float = 5e-5
    warmup_steps: int = 4000
    per: Literal["run", "task"] = "run"
    total_steps: int | None = None


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained. Exactly one of ``batch_tokens`` and ``batch_rows`` gives the global batch of one update."""

    batch_tokens: int | None = None
    batch_rows: int | None = None
    micro_batch_tokens: int | None = None
    seed: int = 0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    learning_rate: LearningRateConfig = field(default_factory=LearningRateConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    checkpoint_every: int = 1000
    keep_last: int = 3
    log_every: int = 10
    eval_every: int = 1000
    eval_batches: int = 16
    early_stop_patience: int | None = None
    non_finite_limit: int = 20
    workers: int = 1

    def __post_init__(self) -> None:
        if (self.batch_tokens is None) == (self.batch_rows is None):
            raise ValueError("give exactly one of batch_tokens and batch_rows")
        for name in ("checkpoint_every", "keep_last", "log_every", "eval_every", "eval_batches", "non_finite_limit"):
            _at_least(name, getattr(self, name), 1)
        for name in ("batch_tokens", "batch_rows", "micro_batch_tokens", "early_stop_patience"):
            _at_least(name, getattr(self, name), 1)
        for name in ("workers", "seed"):
            _at_least(name, getattr(self, name), 0)


@dataclass(frozen=True)
class TaskConfig:
    """Objectives that share a batch: at most one that arranges the input, any number on tokens.

    ``corpora`` replaces those of the data section, for a task that needs data of its own (labelled pairs, say).
    ``warmup_steps`` replaces those of the train section, where each task has its own warm-up.
    """

    objectives: dict[str, dict[str, Any]]
    task_id: int = 0
    corpora: list[CorpusConfig] = field(default_factory=list)
    warmup_steps: int | None = None

    def __post_init__(self) -> None:
        _at_least("task_id", self.task_id, 0)
        _at_least("warmup_steps", self.warmup_steps, 0)


@dataclass(frozen=True)
class ScheduleConfig:
    """How the tasks share the steps: a kind with one amount, or the table itself.

    Attributes:
        kind: one of ``ernie_paddle.pretraining.schedule.schedule.SCHEDULES``.
        steps_per_task: steps of each task, one number or a number for each. Kinds that sum tasks count the steps of
            what a task is introduced in: of the whole sum (``sum``), of the stage that adds the task
            (``incremental``), of its sum with the first task (the ``_plus`` kinds, where the first has no number).
        total_steps: instead of it, the steps of the run, shared equally.
        tokens_per_task, total_tokens: the same in tokens, a full batch a step.
        stages: of ``kind: table``: the steps of each task or sum of tasks ("mlm+nsp") in each stage. An amount is
            then a check that they add up to it.
    """

    kind: str = "cmtl"
    steps_per_task: int | dict[str, int] | None = None
    total_steps: int | None = None
    tokens_per_task: int | dict[str, int] | None = None
    total_tokens: int | None = None
    stages: list[dict[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise unknown_name("kind", self.kind, SCHEDULES, "schedule.kind")
        if (self.kind == "table") != bool(self.stages):
            raise ValueError("kind: table needs stages, and stages need kind: table")
        given = [name for name in AMOUNTS if getattr(self, name) is not None]
        if len(given) > 1 or (not given and self.kind != "table"):
            raise ValueError(f"kind: {self.kind} needs exactly one of {', '.join(AMOUNTS)}; found {given or 'none'}")


@dataclass(frozen=True)
class Recipe:
    """A whole pre-training run, ready to be started."""

    name: str
    arch: dict[str, Any]
    data: DataConfig
    train: TrainConfig
    tasks: dict[str, TaskConfig]
    schedule: ScheduleConfig
    description: str = ""

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("tasks is empty; name at least one task with its objectives")
        for name, task in self.tasks.items():
            if not re.fullmatch(r"[\w.-]+", name):
                raise ValueError(f"task {name!r}: names are made of letters, digits, '_', '-' and '.'")
            if not (task.corpora or self.data.corpora):
                raise ValueError(
                    f"task {name!r} has no data; name a prepared corpus in data.corpora (or --data), or in "
                    f"tasks.{name}.corpora"
                )
            if task.warmup_steps is not None and self.train.learning_rate.per != "task":
                raise ValueError(f"tasks.{name}.warmup_steps needs train.learning_rate.per: task")
        for stage in self.schedule.stages:
            for planned in (task for name in stage for task in name.split(JOINED)):
                if planned not in self.tasks:
                    raise unknown_name("task", planned, self.tasks, "schedule.stages")

    def corpora_of(self, task: str) -> list[CorpusConfig]:
        """What a task reads: corpora of its own, or those of the data section."""
        return self.tasks[task].corpora or self.data.corpora

    @property
    def corpus_paths(self) -> list[str]:
        """Every corpus that some task reads, each once."""
        return list(dict.fromkeys(corpus.path for task in self.tasks for corpus in self.corpora_of(task)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as written beside the checkpoints; ``from_mapping(Recipe, …)`` reads it back."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain
