"""Pre-train a model on prepared corpora according to a recipe. Run the same command again to resume."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ernie_paddle.cli.options import flag, option
from ernie_paddle.pretraining.recipe_files import DEFAULT_RECIPE, load_recipe, recipe_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    names = ", ".join(recipe_names())
    option(parser, "--recipe", str, DEFAULT_RECIPE, f"recipe: a .yaml file, or one of {names}")
    option(parser, "--data", str, None, "prepared corpus that replaces the recipe's corpora", repeat=True)
    option(parser, "--output", Path, None, "folder of the run", shown_default="runs/ and the recipe's name")
    option(
        parser,
        "--continue_from",
        Path,
        None,
        "checkpoint or run from which a new run continues pre-training, with new tasks or longer rows",
    )
    option(parser, "--set", str, None, "setting of the recipe to replace, as section.key=value", repeat=True)
    flag(
        parser,
        "--dry_run",
        False,
        "build everything, train two steps of each task and report time and memory, without writing files",
    )


def run(args: argparse.Namespace) -> int:
    """Run `ernie pretrain`."""
    recipe = load_recipe(args.recipe, args.set or [], args.data or [])
    folder = args.output or Path("runs") / recipe.name

    from ernie_paddle.pretraining.dry_run import dry_run
    from ernie_paddle.pretraining.run import Pretraining

    training = Pretraining(recipe, folder, args.continue_from)
    first = training.rank == 0
    if first:
        print("\n".join(training.describe()), file=sys.stderr)
    if args.dry_run:
        lines = dry_run(training)
        if first:
            print("\n".join(lines))
        return 0
    outcome = training.run()
    if not first:
        return outcome.exit_code
    if not outcome.finished:
        print(f"stopped after step {outcome.step}; run the same command again to resume from {outcome.checkpoint}")
        return outcome.exit_code
    entropy = training.heldout_entropy()
    last = {record.name: record for record in outcome.evaluations}
    for name, record in last.items():
        figures = "  ".join(f"{key} {value:.4g}" for key, value in record.metrics.items())
        print(f"held-out {name} (step {record.step}): {figures}")
    if entropy is not None:
        print(
            f"held-out unigram entropy: {entropy:.4f} nats (a model without context has at least this loss per token)"
        )
    print(f"checkpoint: {outcome.checkpoint}   best: {outcome.best}")
    print(f"curves: {folder / 'curves.png'}   log: {folder / 'log.jsonl'}   VisualDL: {folder / 'vdl'}")
    return 0
