"""Reproduce a table of a paper: pre-train and fine-tune all its rows, and write the table.

ernie2: Table 7 of ERNIE 2.0. losses: Tables 1 and 2 of "On Losses for Modern Language Models". Run the same command
again to resume: finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ernie_paddle import option_kinds as kinds
from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.jobs import do_jobs, exit_code
from ernie_paddle.tables.plan import TablePlan, load_size, load_table, size_names, table_names
from propeller.tools.wheels import require_paddle

REPORT = "tables.md"
PICTURE = "curves.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    tables = ", ".join(table_names())
    opt.argument(parser, "table", str, f"table: one of {tables}, or a .yaml file like those in configs/tables")
    opt.option(
        parser,
        "--data",
        str,
        None,
        "text files to pre-train on, or a prepared corpus",
        repeat=True,
        shown_default="Python's manual",
    )
    opt.option(parser, "--glue", Path, None, "folder with a folder per benchmark, in the layout of GLUE's download")
    opt.option(
        parser,
        "--tasks",
        kinds.comma_list,
        None,
        f"benchmarks to fine-tune on, from {', '.join(load_suite('glue').benchmarks)}",
        shown_default="those of the paper in --glue",
    )
    opt.option(parser, "--seeds", kinds.positive_int, 3, "number of seeds (0, 1, …)")
    sizes = ", ".join(size_names())
    opt.option(
        parser,
        "--size",
        str,
        "tiny",
        f"size: one of {sizes} (base is that of the papers), or a .yaml file like those in configs/sizes",
    )
    opt.option(
        parser,
        "--steps",
        kinds.positive_int,
        None,
        "number of updates of a pre-training run",
        shown_default="that of the size",
    )
    opt.option(parser, "--rows", kinds.comma_list, None, "rows of the table to run", shown_default="all")
    opt.option(
        parser, "--output", Path, None, "folder of all results", shown_default="runs/tables/ and the table's name"
    )
    opt.option(
        parser, "--gpus", str, None, "GPUs that every run uses together, such as 0-7", shown_default="one device"
    )


def run(args: argparse.Namespace) -> int:
    """Make a table; returns the exit code, which is 3 if runs failed."""
    return exit_code(f"ernie tables {args.table}", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    table, size = load_table(args.table, args.rows), load_size(args.size)
    name = Path(args.table).stem
    output = args.output or Path("runs") / "tables" / name
    require_paddle()

    from ernie_paddle.tables import report
    from ernie_paddle.tables.figures import Figures
    from ernie_paddle.tables.plot import draw
    from ernie_paddle.tables.runner import table_runner
    from ernie_paddle.tables.sources import find_benchmarks, make_sources

    benchmarks = find_benchmarks(args.glue, args.tasks, table.benchmarks)
    output.mkdir(parents=True, exist_ok=True)
    sources = make_sources(output, args.data or [], args.glue, benchmarks, size.vocab_size)
    steps = args.steps or size.steps.get(name)
    plan = TablePlan(name, table, size, args.size, steps, range(args.seeds), sources.benchmarks)
    runner = table_runner(plan, sources, output, args.gpus)
    made_by = f"ernie tables {shlex.join(args.given_words)}"

    def write() -> str:
        png = draw(Figures(plan, runner.results), output / PICTURE) if table.curves else None
        text = report.markdown(plan, runner.results, runner.failures, made_by, png.name if png else None)
        (output / REPORT).write_text(text, encoding="utf-8")
        return text

    def at_end() -> None:
        print(f"tables: {output / REPORT}" + (f"   curves: {output / PICTURE}" if table.curves else ""))

    return do_jobs(runner, write, at_end)
