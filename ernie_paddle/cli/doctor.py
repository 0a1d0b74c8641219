"""Report on Python, Paddle, devices, mixed precision, communication, threads and disk, and what to change."""

from __future__ import annotations

import argparse

from ernie_paddle.cli import options as opt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.flag(
        parser, "--gpu_selftest", False, "check AMP, NCCL and speed on the GPUs of this machine, and print a report"
    )


def run(args: argparse.Namespace) -> int:
    """Hand over to propeller's doctor."""
    from propeller import doctor

    return int(doctor.main(["--gpu_selftest"] if args.gpu_selftest else []))
