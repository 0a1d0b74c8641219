"""`python -m bench [prepare] [features] [loader] [step] [tasks] [--vs torch]`: speed and memory, as ratios.

Without a name all benchmarks run, one after the other; with a single name, further options are passed to the benchmark
(`python -m bench loader --help`).
"""

from __future__ import annotations

import argparse
import importlib
import sys

NAMES = ("prepare", "features", "loader", "step", "tasks")


def main(argv: list[str] | None = None) -> int:
    """Run the named benchmarks; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    names = []
    while argv and argv[0] in NAMES:
        names.append(argv.pop(0))
    if len(names) == 1:
        return run(names[0], argv)
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vs", choices=["torch"], help="compare the training step with PyTorch's")
    options = parser.parse_args(argv)
    codes = []
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        codes.append(run(name, ["--vs", options.vs] if options.vs and name == "step" else []))
        print(flush=True)
    return max(codes)


def run(name: str, argv: list[str]) -> int:
    """Run one benchmark with its own options."""
    return int(importlib.import_module(f"bench.{name}").main(argv) or 0)


if __name__ == "__main__":
    sys.exit(main())
