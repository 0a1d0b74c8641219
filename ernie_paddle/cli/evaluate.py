"""Evaluate a fine-tuned checkpoint or an exported model on a labelled table, with the majority-class baseline.

Under fleetrun every device evaluates its share of the rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.columns import add_column_options, given_columns
from ernie_paddle.cli.output_file import check_output
from ernie_paddle.finetune.task_type import FORMATS
from ernie_paddle.finetune.training.results import result_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.option(parser, "--model", Path, kinds.REQUIRED, "fine-tuned checkpoint, folder of a run, or exported model")
    opt.option(parser, "--data", str, kinds.REQUIRED, "labelled table with the columns of the training table")
    opt.option(
        parser,
        "--format",
        str,
        "auto",
        "format of the table; auto: as in training, or by the file extension",
        choices=FORMATS,
    )
    add_column_options(parser, labels=True)
    opt.flag(
        parser, "--skip_unusable", False, "skip unusable rows and report their number, instead of stopping at the first"
    )
    opt.option(parser, "--batch", kinds.positive_int, 64, "rows per batch")
    opt.option(parser, "--output", Path, None, "JSON file to which the metrics are also written")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the table of metrics."""
    from ernie_paddle.finetune.run import evaluate
    from propeller.device import distributed

    check_output(args.output)
    found = evaluate(
        args.model,
        args.data,
        format=args.format,
        skip_unusable=args.skip_unusable,
        batch=args.batch,
        **given_columns(args, labels=True),
    )
    if distributed.rank() != 0:
        return 0
    if found.left_out:
        print(found.left_out, file=sys.stderr)
    print(f"{found.model.path} ({found.model.kind}) on {found.described} of {args.data}")
    print(result_table({"baseline": found.baseline, "model": found.scores}))
    if args.output is not None:
        args.output.write_text(json.dumps(found.document(), indent=1) + "\n", encoding="utf-8")
    return 0
