"""`ernie finetune --task NAME`: the options that a benchmark and its recipe stand for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ernie_paddle.benchmarks.benchmark import option_words
from ernie_paddle.benchmarks.suite import find_benchmark, recipe_size, size_of, variants
from propeller.errors import UserError


def expand_task(argv: Sequence[str]) -> list[str]:
    """The options of `ernie finetune` with those of `--task` in front, so that a person's own come later and win.

    Args:
        argv: options with underscores in their names; without `--task` they stay as they are.

    Raises:
        UserError: no such benchmark, files that are not there, or no recipe for the model's size.
    """
    given = _given(argv)
    if given.task is None:
        return list(argv)
    suite, benchmark = find_benchmark(given.task, "--task")
    train, tables = given.train, []
    if given.train is None or given.dev is None:
        if given.data_dir is None:
            raise UserError(
                f"--task {given.task}: give --data_dir, the folder that holds {benchmark.folders[0]}/ with "
                f"{benchmark.layout()}; or --train and --dev"
            )
        found, dev = benchmark.tables(given.data_dir)
        train, tables = train or found, ["--train", str(found), "--dev", str(dev)]
    words = benchmark.as_in(Path(train)).arguments()
    size, has_task_ids = _size(given)
    recipe, settings = suite.settings(benchmark.name, size, given.recipe)
    if not has_task_ids:
        settings.pop("task_id", None)
    tried = [name for name, value in settings.items() if isinstance(value, list)]
    settings = variants(settings)[0]
    shown = " ".join(option_words(settings))
    print(f"recipe {recipe} for size {size} ({suite.recipes[recipe].source}): {shown}", file=sys.stderr)
    if tried:
        said = f"that recipe tries several values of {', '.join(tried)}, of which these are the first"
        print(f"{said}; `run.sh` with the suite's name tries all", file=sys.stderr)
    return [*words, *tables, *option_words(settings), *argv]


def _given(argv: Sequence[str]) -> argparse.Namespace:
    """The options that decide which others are meant; mistakes in them are left to the parser that follows."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--task", "--train", "--dev", "--size", "--recipe"):
        parser.add_argument(name)
    for name in ("--data_dir", "--model"):
        parser.add_argument(name, type=Path)
    try:
        return parser.parse_known_args(list(argv))[0]
    except argparse.ArgumentError:
        return parser.parse_args([])


def _size(given: argparse.Namespace) -> tuple[str, bool]:
    """The size whose recipe is meant, and whether the model has task ids."""
    from ernie_paddle.finetune.training.start import architecture, model_identity

    if given.model is None:
        size = given.size or "small"
        return recipe_size(size), architecture(size).use_task_id
    config, _ = model_identity(given.model)
    return size_of(config), bool(config.use_task_id)
