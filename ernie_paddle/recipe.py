"""Recipes: one YAML file names the architecture, the data, the training settings, the tasks and their schedule.

``configs/`` holds ``arch/``, ``data/`` and ``train/`` (never mixed) and ``recipes/``, which compose them: in a
recipe, ``arch``, ``data`` and ``train`` are each the name of a file in their folder, or the settings themselves. A
recipe may name another one as ``base``, whose sections are taken where it has none of its own.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from ernie_paddle.schedules import SCHEDULES
from propeller.errors import UserError
from propeller.graph.optim import OptimizerConfig
from propeller.graph.precision import PrecisionConfig
from propeller.settings import from_mapping, unknown_name

DEFAULT_RECIPE = "ernie2_base_en"
JOINED = "+"
"""Joins the names of tasks whose losses are summed."""
_SECTIONS = ("arch", "data", "train")
AMOUNTS = ("steps_per_task", "total_steps", "tokens_per_task", "total_tokens")
"""Settings of a schedule of which one is given."""


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, found {value}")


def configs_dir() -> Path:
    """The folder of shipped configurations: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


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
        kind: one of ``ernie_paddle.schedules.SCHEDULES``.
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


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in (configs_dir() / "recipes").glob("*.yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = (), corpora: Sequence[str] = ()) -> Recipe:
    """Read a recipe by its shipped name or from a file, compose its sections and check every key.

    Args:
        name_or_path: a name from :func:`recipe_names`, or a YAML file.
        overrides: ``section.key=value`` settings that replace single values (the value is read as YAML), or
            ``arch=NAME``, ``data=NAME``, ``train=NAME`` for a whole section.
        corpora: prepared corpora that replace those of the recipe's data section.

    Raises:
        UserError: no such recipe or section file, not YAML, an unknown key, a value of a wrong kind.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = configs_dir() / "recipes" / f"{name_or_path}.yaml"
        if not path.is_file():
            near = difflib.get_close_matches(name_or_path, recipe_names(), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"no recipe is named {name_or_path!r}; {hint}Known: {', '.join(recipe_names())}, or a .yaml file"
            )
    mapping = _read_recipe(path)
    whole = [override for override in overrides if override.partition("=")[0] in _SECTIONS]
    for override in whole:
        _apply(mapping, override)
    for section in _SECTIONS:
        if isinstance(mapping.get(section), str):
            mapping[section] = read_yaml(_section_file(section, mapping[section], path))
    if corpora:
        if not isinstance(mapping.get("data"), Mapping):
            raise UserError(f"{path}: the recipe has no data section")
        mapping["data"] = {**mapping["data"], "corpora": [{"path": corpus} for corpus in corpora]}
    for override in overrides:
        if override not in whole:
            _apply(mapping, override)
    mapping.setdefault("name", path.stem)
    return from_mapping(Recipe, mapping, str(path))


def _read_recipe(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's mapping; what it does not say is that of the recipe it names as ``base``, section by section."""
    mapping = read_yaml(path)
    base = mapping.pop("base", None)
    if base is None:
        return mapping
    candidates = [folder / f"{base}.yaml" for folder in (path.parent, configs_dir() / "recipes")]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        raise unknown_name("recipe", base, recipe_names(), f"{path}: base")
    if found in (path, *above):
        raise UserError(f"{path}: base: {base} is built on this recipe itself")
    return {**_read_recipe(found, (path, *above)), **mapping}


def _section_file(section: str, name: str, recipe: Path) -> Path:
    """``configs/<section>/<name>.yaml`` of the shipped configurations, or of those that the recipe lies in."""
    for root in (recipe.resolve().parent.parent, configs_dir()):
        candidate = root / section / f"{name}.yaml"
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in (configs_dir() / section).glob("*.yaml"))
    raise unknown_name(f"{section} configuration", name, known, str(recipe))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping of settings in a YAML file.

    Raises:
        UserError: no such file, not YAML, or something else than a mapping.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f":{place.line + 1}" if place else ""
        raise UserError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: expected a mapping of settings at the top")
    return loaded


def _apply(mapping: dict[str, Any], override: str) -> None:
    """Set one dotted key; whether the key exists is checked afterwards with all the others."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: write it as section.key=value, for example train.seed=1")
    target: Any = mapping
    *parents, last = key.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UserError(f"--set {override}: {parent!r} is not a section")
    try:
        target[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: the value is not valid YAML") from None
