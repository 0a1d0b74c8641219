"""List the available objectives, schedules, tasks, suites, recipes, …, with a line about each."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping

from ernie_paddle.cli import options as opt
from propeller.errors import UserError
from propeller.settings import unknown_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.argument(parser, "what", str, f"what to list: {', '.join(LISTS)}")


def run(args: argparse.Namespace) -> int:
    """Print the names and a line about each.

    Raises:
        UserError: There is no such list.
    """
    if args.what not in LISTS:
        raise unknown_name("list", args.what, LISTS, "what to list")
    entries = LISTS[args.what]()
    width = max(map(len, entries))
    for name, line in entries.items():
        print(f"{name:<{width}}  {line}".rstrip())
    return 0


def objectives() -> Mapping[str, str]:
    """The objectives for the tasks of a recipe."""
    from ernie_paddle.objectives.registry import registry

    return {name: cls.summary for name, cls in registry().items()}


def schedules() -> Mapping[str, str]:
    """The values of a recipe's `schedule.kind`."""
    from ernie_paddle.pretraining.recipe import SCHEDULES

    return SCHEDULES


def tasks() -> Mapping[str, str]:
    """The values of `ernie finetune --type`."""
    from ernie_paddle.finetune.task_type import TASK_TYPES, task_class

    return {name: (inspect.getdoc(task_class(name)) or "").partition("\n")[0] for name in TASK_TYPES}


def benchmarks() -> Mapping[str, str]:
    """The values of `ernie finetune --task`."""
    from ernie_paddle.benchmarks.suite import load_suite, suite_names

    lines = {}
    for suite in suite_names():
        for name, benchmark in load_suite(suite).benchmarks.items():
            lines[f"{suite}/{name}"] = f"{benchmark.type}, {', '.join(benchmark.metrics)}; {benchmark.layout()}"
    return lines


def suites() -> Mapping[str, str]:
    """The suites of `ernie benchmarks`."""
    from ernie_paddle.benchmarks.suite import load_suite, suite_names

    return {name: f"{load_suite(name).title}: {', '.join(load_suite(name).benchmarks)}" for name in suite_names()}


def recipes() -> Mapping[str, str]:
    """The values of `ernie pretrain --recipe`; the line of an unreadable recipe says so."""
    from ernie_paddle.pretraining.recipe_files import load_recipe, recipe_names

    lines = {}
    for name in recipe_names():
        try:
            lines[name] = load_recipe(name).description
        except UserError as error:
            lines[name] = f"(unusable: {error})"
    return lines


LISTS: dict[str, Callable[[], Mapping[str, str]]] = {
    "objectives": objectives,
    "schedules": schedules,
    "tasks": tasks,
    "benchmarks": benchmarks,
    "suites": suites,
    "recipes": recipes,
}
