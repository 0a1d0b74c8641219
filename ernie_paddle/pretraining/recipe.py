"""Recipes: one YAML file names the architecture, the data, the training settings, the tasks and their schedule.

``configs/`` holds ``arch/``, ``data/`` and ``train/`` (kept separate) and ``recipes/``, which combine them: in a
recipe, ``arch``, ``data`` and ``train`` are each either the name of a file in the folder or the settings themselves. A
recipe may name another recipe as ``base``, which provides the sections that it does not have.
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
"""Separator of the names of tasks whose losses are summed."""
SCHEDULES = {
    "sum": "all tasks in every step, their losses summed (On Losses, 3.3)",
    "incremental": "stage i sums the losses of tasks 1 to i; all stages are equally long (On Losses, 3.3)",
    "alternating": "the tasks take turns, one per step (On Losses, 3.3)",
    "alternating_plus": "all tasks but the first take turns, each summed with the first (On Losses, 3.3)",
    "cmtl": "continual multi-task: every stage adds a task and keeps training the earlier ones (ERNIE 2.0)",
    "cmtl_plus": "continual multi-task over all tasks but the first, each summed with the first (On Losses, 3.3)",
    "multi_task": "all tasks from the start, one drawn at random per step (ERNIE 2.0, Table 7)",
    "sequential": "one task after the other, each in a stage of its own (ERNIE 2.0, Table 7)",
    "table": "stages written by hand: the steps of each task, or of a sum of tasks such as mlm+nsp",
}
"""The values of ``schedule.kind``, with a one-line description of each."""

AMOUNTS = ("steps_per_task", "total_steps", "tokens_per_task", "total_tokens")
"""The settings for the amount of training; a schedule has exactly one of them."""


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, found {value}")


@dataclass(frozen=True)
class CorpusConfig:
    """One prepared corpus (the output of ``ernie prepare``) and how often an epoch reads it."""

    path: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight must be above 0, found {self.weight}")


@dataclass(frozen=True)
class DataConfig:
    """The data section: the corpora, the length of a row in tokens, and how rows are binned by length."""

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

    ``total_steps`` is the step at which "linear" and "cosine" reach 0, by default the last one. Set it in a run that a
    later run continues with ``per: task``, such as BERT's phase of short rows.
    """

    kind: Literal["linear", "noam", "constant", "cosine"] = "noam"
    peak: float = 5e-5
    warmup_steps: int = 4000
    per: Literal["run", "task"] = "run"
    total_steps: int | None = None


@dataclass(frozen=True)
class TrainConfig:
    """The training section. Exactly one of ``batch_tokens`` and ``batch_rows`` gives the global batch of one update."""

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
    """Objectives that share a batch: at most one that arranges the input, and any number of token-level ones.

    ``corpora`` replaces those of the data section, for a task that needs data of its own (such as labelled pairs).
    ``warmup_steps`` replaces the setting of the train section, if each task has its own warm-up.
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
    """The schedule section: how the tasks share the steps, as a kind with one amount or as a table.

    Attributes:
        kind: One of ``SCHEDULES``.
        steps_per_task: Steps of each task: one number for all, or a number for each. Kinds that sum tasks count the
            steps of the sum that introduces the task: the whole sum (``sum``), the stage that adds the task
            (``incremental``), or its sum with the first task (the ``_plus`` kinds, where the first has no number).
        total_steps: Alternative to ``steps_per_task``: the steps of the run, divided equally among the tasks.
        tokens_per_task, total_tokens: The same amounts in tokens, with a full batch per step.
        stages: For ``kind: table``: the steps of each task or sum of tasks ("mlm+nsp") in each stage. With a table, an
            amount is only used to check that the stages add up to it.
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
            raise ValueError("kind: table and stages need each other; give both or neither")
        given = [name for name in AMOUNTS if getattr(self, name) is not None]
        if len(given) > 1 or (not given and self.kind != "table"):
            raise ValueError(f"kind: {self.kind} needs exactly one of {', '.join(AMOUNTS)}; found {given or 'none'}")


@dataclass(frozen=True)
class Recipe:
    """A complete pre-training recipe."""

    name: str
    arch: dict[str, Any]
    data: DataConfig
    train: TrainConfig
    tasks: dict[str, TaskConfig]
    schedule: ScheduleConfig
    description: str = ""

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("tasks is empty; give at least one task with its objectives")
        for name, task in self.tasks.items():
            if not re.fullmatch(r"[\w.-]+", name):
                raise ValueError(f"task {name!r}: a task name may only contain letters, digits, '_', '-' and '.'")
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
        """The corpora of a task: its own, or those of the data section."""
        return self.tasks[task].corpora or self.data.corpora

    @property
    def corpus_paths(self) -> list[str]:
        """The paths of all corpora of the tasks, without duplicates."""
        return list(dict.fromkeys(corpus.path for task in self.tasks for corpus in self.corpora_of(task)))

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain data, as stored in checkpoints; ``from_mapping(Recipe, …)`` reads it back."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain
