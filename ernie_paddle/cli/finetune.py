"""Train a model for a task on a labelled table, and keep the best checkpoint.

Run the same command again to resume an interrupted run. Under fleetrun every device trains on its share of each batch.
Task types have further options: `ernie finetune --type X --help` lists them with the shared ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ernie_paddle.cli import options as opt
from ernie_paddle.finetune.options import USUAL_TYPE, option_groups, options_of, other_types_options
from ernie_paddle.finetune.task_type import TASK_TYPES
from ernie_paddle.finetune.training.results import result_table
from ernie_paddle.option_kinds import names_of


def expand(argv: list[str]) -> list[str]:
    """Expand `--task` in the options."""
    from ernie_paddle.benchmarks.expand import expand_task

    return expand_task(argv)


def add_arguments(parser: opt.Parser, argv: Sequence[str] = ()) -> None:
    """Declare the options of the task type that is named in `argv`."""
    type = _type_in(argv)
    groups = option_groups(type)
    for title, options in groups.items():
        group = parser.add_argument_group(title)
        if title == "data":
            opt.option(
                group,
                "--task",
                str,
                None,
                "published benchmark, such as CoLA or squad/SQuAD-1.1: sets the options for its tables and the "
                "recipe for the model's size, which other options override",
            )
            opt.option(group, "--data_dir", Path, None, "with --task: folder with a folder per benchmark")
            opt.option(
                group,
                "--recipe",
                str,
                None,
                "with --task: paper whose recipe to use",
                shown_default="the first that has the size",
            )
        for option in options:
            opt.declare(group, option)
    parser.elsewhere = {f"--{name}": sentence for name, sentence in other_types_options(type).items()}


def run(args: argparse.Namespace) -> int:
    """Train the model, report the results, and return the exit code."""
    from ernie_paddle.finetune.run import finetune

    outcome = finetune(**{name: getattr(args, name) for name in names_of(options_of(args.type))})
    if outcome.rows:
        print(result_table(dict(outcome.rows)))
        print(f"best checkpoint: {outcome.best}")
    return outcome.exit_code


def _type_in(argv: Sequence[str]) -> str:
    """The task type in a command line; the parser refuses an unknown one later."""
    given = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    given.add_argument("--type", default=USUAL_TYPE)
    try:
        type = str(given.parse_known_args(list(argv))[0].type)
    except argparse.ArgumentError:
        return USUAL_TYPE
    return type if type in TASK_TYPES else USUAL_TYPE
