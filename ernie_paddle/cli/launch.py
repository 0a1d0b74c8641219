"""Start one worker per device and wait for them: `ernie launch --gpus 0-7 pretrain.py [options of the script]`.

It is this project's `fleetrun` under a name that no other program has, and it takes the same arguments. Options that
are not listed here go to paddle.distributed.launch unchanged, and whatever follows the script goes to the script. The
exit code is 0 when all workers succeeded, otherwise that of a failed worker, and 130 after Ctrl-C. An installation
without the scripts of the repository has the same with `ernie launch --gpus 0-7 ernie pretrain [options]`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from propeller.errors import UserError

PROGRAM = "ernie launch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options for `--help`; :func:`forward` leaves reading them to fleetrun."""
    opt.option(
        parser,
        "--gpus",
        str,
        None,
        "devices by number, as 0,1,2 or ranges such as 0-7 or 0-3,6; --devices is the same",
        shown_default="all that are visible",
    )
    opt.option(
        parser,
        "--nproc_per_node",
        kinds.positive_int,
        None,
        "number of workers; without a GPU they are CPU workers (gloo)",
        shown_default="one per device",
    )
    opt.option(parser, "--log_dir", str, "log", "folder of the workers' output, workerlog.RANK for each")
    opt.argument(parser, "script", str, "Python script or program that every worker runs, followed by its options")


def forward(arguments: Sequence[str]) -> int:
    """Hand the arguments to fleetrun as they were given, and return its exit code.

    Raises:
        UserError: there are no arguments.
    """
    from propeller.tools import fleetrun

    if not arguments:
        raise UserError(f"there is no script to run (see `{PROGRAM} --help`)")
    return fleetrun.main(arguments, program=PROGRAM)
