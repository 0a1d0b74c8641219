"""Report on Python, Paddle, devices, mixed precision, communication, threads and disk, and suggest changes."""

from __future__ import annotations

import argparse

from ernie_paddle.cli import options as opt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.flag(parser, "--communication", False, "also test training with two processes")
    opt.flag(parser, "--gpu_selftest", False, "check AMP, NCCL and speed on every visible GPU, and print a report")
    opt.option(
        parser, "--device", str, "gpu", "device of the self-test; cpu runs what a CPU can", choices=("gpu", "cpu")
    )


def run(args: argparse.Namespace) -> int:
    """Run propeller's doctor."""
    from propeller.tools import doctor

    asked = [f"--{name}" for name in ("communication", "gpu_selftest") if getattr(args, name)]
    return doctor.main([*asked, "--device", args.device])
