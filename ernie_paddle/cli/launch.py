"""Start one worker per device and wait for them: `ernie launch --gpus 0-7 pretrain.py [options of the script]`.

It is this project's `fleetrun` under a unique name, with the same arguments. Other options are passed to
paddle.distributed.launch unchanged, and everything after the script is passed to the script. The exit code is 0 if all
workers succeeded, otherwise that of a failed worker, and 130 after Ctrl-C. In an installation without the scripts of
the repository, run `ernie launch --gpus 0-7 ernie pretrain [options]`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from propeller.errors import UserError

PROGRAM = "ernie launch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options for `--help`; :func:`forward` passes them to fleetrun."""
    opt.option(
        parser,
        "--gpus",
        str,
        None,
        "numbers of the devices, such as 0,1,2 or ranges such as 0-7 or 0-3,6; also called --devices",
        shown_default="all visible devices",
    )
    opt.option(
        parser,
        "--nproc_per_node",
        kinds.positive_int,
        None,
        "number of workers; without a GPU, CPU workers (gloo)",
        shown_default="one per device",
    )
    opt.option(parser, "--log_dir", str, "log", "folder of the workers' output, workerlog.RANK for each")
    opt.argument(parser, "script", str, "Python script or program that every worker runs, followed by its options")


def forward(arguments: Sequence[str]) -> int:
    """Pass the arguments to fleetrun unchanged, and return its exit code.

    Raises:
        UserError: There are no arguments.
    """
    from propeller.tools import fleetrun

    if not arguments:
        raise UserError(f"there is no script to run (see `{PROGRAM} --help`)")
    return fleetrun.main(arguments, program=PROGRAM)
