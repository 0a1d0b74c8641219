"""Suites of benchmarks, read from configs/benchmarks: tasks, the papers' recipes by model size, published figures."""

from __future__ import annotations

import functools
import itertools
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.yaml_configs import configs_dir, read_yaml
from propeller.errors import UserError
from propeller.settings import from_mapping, unknown_name

SIZES = ("tiny", "small", "base", "large")
_EVERY = "all"


@dataclass(frozen=True)
class PaperSettings:
    """Fine-tuning settings of a paper.

    Attributes:
        source: Where the settings come from.
        sizes: Options of `ernie finetune` by model size and task; those of the task `all` apply to every task. For a
            list, every value is tried and the best on the development table is used.
        common: Options for every size and task.
    """

    source: str
    sizes: dict[str, dict[str, dict[str, Any]]]
    common: dict[str, Any] = field(default_factory=dict)

    def settings(self, task: str, size: str) -> dict[str, Any] | None:
        """The options for a task and size, with lists unchanged; None if the paper gives none."""
        known = self.sizes.get(size, {})
        if _EVERY not in known and task not in known:
            return None
        return {**self.common, **known.get(_EVERY, {}), **known.get(task, {})}


@dataclass(frozen=True)
class Published:
    """Figures that a paper reports, in percent.

    Attributes:
        model: Name of the model.
        size: Size of the model, base or large.
        split: Evaluated set: "dev", optionally with the number of seeds, or "test".
        scores: Scores by task and metric.
        average: Average as given by the paper.
        average_of: Tasks that the average covers.
    """

    model: str
    size: str
    split: str
    scores: dict[str, dict[str, float]]
    average: float | None = None
    average_of: str = "all tasks"


@dataclass(frozen=True)
class Suite:
    """The benchmarks that one command runs.

    Attributes:
        title: Heading of the report.
        benchmarks: Benchmarks by name.
        recipes: Recipes by paper; the first that has a model's size is the default.
        published: Published figures to compare with.
        submission: Format of the submission, a key of `submission.WRITERS`; None: there is none.
    """

    title: str
    benchmarks: dict[str, Benchmark]
    recipes: dict[str, PaperSettings]
    published: list[Published] = field(default_factory=list)
    submission: str | None = None

    def find(self, names: Iterable[str], where: str) -> list[Benchmark]:
        """Find benchmarks by name, without duplicates; capitals and dashes do not matter.

        Raises:
            UserError: There is no such benchmark; the message suggests the closest one.
        """
        plain = {plain_name(name): benchmark for name, benchmark in self.benchmarks.items()}
        for name in names:
            if plain_name(name) not in plain:
                raise unknown_name("benchmark", name, self.benchmarks, where)
        return list(dict.fromkeys(plain[plain_name(name)] for name in names))

    def check_recipe(self, recipe: str | None) -> None:
        """Check that there is a recipe of this name.

        Raises:
            UserError: There is no such recipe; the message suggests the closest one.
        """
        if recipe is not None and recipe not in self.recipes:
            raise unknown_name("recipe", recipe, self.recipes, "--recipe")

    def with_recipe(
        self, tasks: Iterable[Benchmark], size: str, recipe: str | None, left_out: list[str]
    ) -> list[Benchmark]:
        """The tasks that have settings; reasons for the others are printed and added to `left_out`.

        Raises:
            UserError: No task has settings.
        """
        found = []
        for task in tasks:
            try:
                self.settings(task.name, size, recipe)
                found.append(task)
            except UserError as error:
                left_out.append(str(error))
                print(f"skipped: {error}", file=sys.stderr)
        if not found:
            raise UserError(f"no recipe fits these tasks and size {size} (see the reasons above)")
        return found

    def settings(self, task: str, size: str, recipe: str | None = None) -> tuple[str, dict[str, Any]]:
        """The name of a recipe and its options for a task and size: those of `recipe`, or the usual ones.

        Raises:
            UserError: There is no such recipe, or it has no settings for this task and size.
        """
        self.check_recipe(recipe)
        for name in [recipe] if recipe else self.recipes:
            found = self.recipes[name].settings(task, size)
            if found is not None:
                return name, found
        books = [self.recipes[recipe]] if recipe else list(self.recipes.values())
        known = [given for given in SIZES if any(known.settings(task, given) for known in books)]
        raise UserError(
            f"{task}: {f'the recipe {recipe}' if recipe else 'no recipe'} has no settings for size {size}; sizes: "
            f"{', '.join(known) or 'none'}"
        )


def plain_name(name: str) -> str:
    """Normalize a name, without differences in case and punctuation."""
    return re.sub(r"[^a-z0-9.]", "", name.lower())


def suite_names() -> list[str]:
    """Names of the suites."""
    return sorted(path.stem for path in (configs_dir() / "benchmarks").glob("*.yaml"))


@functools.cache
def load_suite(name: str) -> Suite:
    """Load a suite by its name.

    Raises:
        UserError: There is no such suite, or the file is damaged.
    """
    if name not in suite_names():
        raise unknown_name("suite", name, suite_names(), "benchmarks")
    path = configs_dir() / "benchmarks" / f"{name}.yaml"
    plain = read_yaml(path)
    tasks = plain.get("benchmarks")
    if isinstance(tasks, Mapping):
        plain = {**plain, "benchmarks": {key: {"name": key, **(values or {})} for key, values in tasks.items()}}
    return from_mapping(Suite, plain, str(path))


def find_benchmark(name: str, where: str) -> tuple[Suite, Benchmark]:
    """Find a benchmark of any suite; `suite/name` selects among benchmarks of the same name.

    Raises:
        UserError: There is none or more than one.
    """
    wanted_suite, slash, task = name.rpartition("/")
    suites = {suite: load_suite(suite) for suite in ([wanted_suite] if slash else suite_names())}
    found = {
        f"{key}/{benchmark.name}": (suite, benchmark)
        for key, suite in suites.items()
        for benchmark in suite.benchmarks.values()
        if plain_name(benchmark.name) == plain_name(task)
    }
    if len(found) > 1:
        raise UserError(f"{where} {name}: the name is ambiguous, say which: {', '.join(found)}")
    if not found:
        raise unknown_name("benchmark", name, [known for suite in suites.values() for known in suite.benchmarks], where)
    return next(iter(found.values()))


def size_of(config: ErnieConfig) -> str:
    """The size whose recipe fits a model best, by its hidden size."""
    sizes = (("large", 1024), ("base", 768), ("small", 256))
    return next((size for size, hidden in sizes if config.hidden_size >= hidden), "tiny")


def recipe_size(size: str) -> str:
    """The size whose recipe fits a random model of a size or a named architecture.

    Raises:
        UserError: There is no such size.
    """
    from ernie_paddle.finetune.training.start import architecture

    config = architecture(size)
    return size if size in SIZES else size_of(config)


def variants(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All combinations of the settings that are lists, each as plain options."""
    searched = [name for name, value in settings.items() if isinstance(value, list)]
    choices = itertools.product(*(settings[name] for name in searched))
    return [{**settings, **dict(zip(searched, choice, strict=True))} for choice in choices]
