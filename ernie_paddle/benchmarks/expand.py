"""`ernie finetune --task NAME`: expansion to the options of a benchmark and its recipe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ernie_paddle.benchmarks.benchmark import option_words
from ernie_paddle.benchmarks.suite import find_benchmark, recipe_size, size_of, variants
from propeller.errors import UserError


def expand_task(argv: Sequence[str]) -> list[str]:
    """Replace `--task` by the options that it stands for, placed first so that the user's own options override them.

    Args:
        argv: Options with underscores in their names; without `--task` they are returned unchanged.

    Raises:
        UserError: There is no such benchmark, files are missing, or there is no recipe for the model's size.
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
        said = f"that recipe tries several values of {', '.join(tried)}; the first of each is used"
        print(f"{said}; `ernie benchmarks` tries all", file=sys.stderr)
    return [*words, *tables, *option_words(settings), *argv]


def _given(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the options that select the benchmark and recipe; the parser that follows reports mistakes in them."""
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
    """The size of the recipe, and whether the model has task ids."""
    from ernie_paddle.finetune.training.start import architecture, model_identity

    if given.model is None:
        size = given.size or "small"
        return recipe_size(size), architecture(size).use_task_id
    config, _ = model_identity(given.model)
    return size_of(config), bool(config.use_task_id)
