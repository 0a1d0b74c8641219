"""Score a fine-tuned checkpoint or an exported model on a labelled table, beside an answer that looks at no input.

Under fleetrun every device answers its share of the rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from ernie_paddle.cli import options as opt
from ernie_paddle.cli.columns import add_column_options, add_label_options, format_for, with_columns
from ernie_paddle.cli.output_file import check_output
from ernie_paddle.finetune.metrics.answer_metrics import SCORINGS
from ernie_paddle.finetune.task_type import FORMATS, require_some
from ernie_paddle.finetune.training.results import left_out_line, result_table
from propeller.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.option(parser, "--model", Path, opt.REQUIRED, "fine-tuned checkpoint, folder of a run, or exported model")
    opt.option(parser, "--data", str, opt.REQUIRED, "labelled table with the columns of the training table")
    opt.option(
        parser, "--format", str, "auto", "format of the table; auto: as in training, or by extension", choices=FORMATS
    )
    add_column_options(parser)
    add_label_options(parser)
    opt.flag(parser, "--skip_unusable", False, "leave out rows that cannot be used, and say how many")
    opt.option(
        parser,
        "--scoring",
        str,
        None,
        "question answering: definition of the metrics, as mlqa_de for German after training in English",
        choices=SCORINGS,
        shown_default="the model's own",
    )
    opt.option(parser, "--batch", opt.positive_int, 64, "rows computed at once")
    opt.option(parser, "--output", Path, None, "JSON file that gets the metrics too")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table."""
    from ernie_paddle.checkpoints.model_dir import open_model_dir
    from ernie_paddle.finetune.serving.answering import model_runner
    from ernie_paddle.finetune.serving.converted_task import rebuilt_task
    from ernie_paddle.finetune.serving.inference import run_dataset
    from ernie_paddle.finetune.tasks.question_answering import QuestionAnswering
    from propeller.device import distributed

    check_output(args.output)
    model = open_model_dir(args.model)
    if model.task is None:
        model = replace(model, task=rebuilt_task(model, args))
    task = with_columns(model.require_task(), args)
    if args.scoring is not None:
        if not isinstance(task, QuestionAnswering):
            raise UserError(f"--scoring is for question answering; the task of {model.path} is {task.type}")
        task = replace(task, scoring=args.scoring)
    strict = not args.skip_unusable
    form = format_for(task, args.format, args.data)
    data = task.read(args.data, model.tokenizer, labelled=True, strict=strict, format=form)
    require_some(data, task.counted)
    distributed.init()
    rank, world = distributed.rank(), distributed.world_size()
    scores = task.score(run_dataset(model_runner(model), task, data, args.batch, rank=rank, world=world), data)
    if rank != 0:
        return 0
    baseline = task.baseline(data)
    if said := left_out_line(data.source, data.mistakes, task.counted):
        print(said, file=sys.stderr)
    print(f"{model.path} ({model.kind}) on {data.describe()} of {args.data}")
    print(result_table({"baseline": baseline, "model": scores}))
    if args.output is not None:
        report = {"model": scores, "baseline": baseline, "rows": data.examples, "left_out": data.uncounted}
        args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0
