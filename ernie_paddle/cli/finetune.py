"""Train a model for a task on a labelled table, and keep the best checkpoint.

Rerun the same command to continue an interrupted run. Under fleetrun every device trains on its share of each batch.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from ernie_paddle.cli.finetune_options import add_arguments, check_task_options
from ernie_paddle.finetune.task_type import TaskType, require_some, task_class
from ernie_paddle.finetune.training.results import RESULTS, left_out_line, result_table
from propeller.errors import UserError
from reader.tables.table import STDIN

__all__ = ["add_arguments", "expand", "run"]

NOT_AGREED = "-"
"""What tables that are made by several annotators have where most did not agree, as SNLI, OCNLI and CMNLI."""


def expand(argv: list[str]) -> list[str]:
    """The options with those that `--task` stands for."""
    from ernie_paddle.benchmarks.expand import expand_task

    return expand_task(argv)


def run(args: argparse.Namespace) -> int:
    """Train, report, and return the exit code."""
    from ernie_paddle.finetune.tasks.question_answering import QuestionAnswering
    from ernie_paddle.finetune.training.class_weights import class_weights
    from ernie_paddle.finetune.training.start import start_at_random, start_from_model, with_dropout
    from ernie_paddle.finetune.training.task_id import with_task_id
    from ernie_paddle.finetune.training.trainer import FinetuneConfig, Finetuner, RunOptions
    from propeller.device import distributed
    from propeller.graph.precision import PrecisionConfig

    if args.train == STDIN:
        raise UserError("--train cannot be standard input, since the training table is read twice; give a file")
    chief = distributed.rank() == 0
    start = start_at_random(args.size, args.vocab) if args.model is None else start_from_model(args.model)
    chosen = task_class(args.type)
    check_task_options(args)
    if args.task_id is not None:
        start = replace(start, config=with_task_id(start.config, args.task_id, args.model))
    if args.dropout is not None:
        start = replace(start, config=with_dropout(start.config, args.dropout))
    if args.max_length is None:
        args.max_length = min(chosen.usual_length, start.config.max_length)
    if args.max_length > start.config.max_length:
        raise UserError(f"--max_length {args.max_length} is more than the model's {start.config.max_length}")
    task = chosen.from_options(args).with_layout(start.config.layout)
    strict = not args.skip_unusable
    train = task.read(args.train, start.tokenizer, labelled=True, strict=strict, format=args.format)
    require_some(train, task.counted)
    said, described = left_out_line(train.source, train.problems, task.counted), train.describe()
    train = train.for_training()
    left_out_of_training = train.uncounted  # of training only: a blank question counts in a score
    if not len(train):
        raise UserError(f"{args.train}: nothing in it can be trained on: {described}")
    dev = task.read(args.dev, start.tokenizer, labelled=True, strict=strict, format=args.format)
    require_some(dev, task.counted)
    if chief:
        lines = (said, left_out_line(dev.source, dev.mistakes, task.counted), _suspicious_label(task, args))
        for line in filter(None, lines):
            _say(line)
        _say(f"to train on: {train.describe()}; to evaluate on: {dev.describe()}")
        if isinstance(task, QuestionAnswering) and args.scoring == "auto":
            _say(f"--scoring auto: answers are scored as in {task.scoring}, which fits the training data")
        _say(start.description)
        if args.overwrite:
            discard_run(args.output)
        args.output.mkdir(parents=True, exist_ok=True)
    distributed.init()
    distributed.barrier()

    config = FinetuneConfig(
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        schedule=args.schedule,
        warmup=args.warmup,
        layer_decay=args.layer_decay,
        weight_decay=args.weight_decay,
        adam_epsilon=args.adam_epsilon,
        rdrop=args.rdrop,
        fgm=args.fgm,
        class_weights=class_weights(args.class_weights, task, train) if args.class_weights else None,
        clip_norm=args.clip_norm,
        seed=args.seed,
        patience=args.patience,
        precision=PrecisionConfig(dtype=args.precision),
    )
    options = RunOptions(args.output, args.micro_batch, args.eval_batch, args.save_steps, args.log_every)
    tuner = Finetuner(task, start, train, dev, config, options)
    tuner.prepare()
    outcome = tuner.run()
    if chief and outcome.finished:
        baseline = task.baseline(dev)
        best_step = int(outcome.best.name.partition("-")[2])
        rows = {"baseline": baseline}
        for found in outcome.evaluations:
            title = f"epoch {tuner.epoch_of(found.step):g}" + (" (best)" if found.step == best_step else "")
            rows[title] = found.metrics
        print(result_table(rows))
        print(f"best checkpoint: {outcome.best}")
        best = next((found.metrics for found in outcome.evaluations if found.step == best_step), {})
        report = {"step": best_step, "best": best, "baseline": baseline, "rows": dev.examples}
        report |= {"left_out": dev.uncounted, "left_out_of_training": left_out_of_training, "steps": outcome.step}
        (args.output / RESULTS).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    elif chief:
        _say(f"stopped after step {outcome.step}; run the same command again to continue")
    return outcome.exit_code


def _suspicious_label(task: TaskType, args: argparse.Namespace) -> str | None:
    """A warning where a label that was found in the training table may well be none."""
    if args.labels or not hasattr(task, "no_label") or NOT_AGREED not in getattr(task, "labels", ()):
        return None
    return (
        f"WARNING: {args.train}: {NOT_AGREED!r} is taken for a label; if it says that a row has none, give "
        f"--no_label {NOT_AGREED}"
    )


def discard_run(folder: Path) -> None:
    """Remove what an earlier run left in its folder, and nothing else."""
    from propeller.run import run_folder

    run_folder.discard(folder)
    (folder / RESULTS).unlink(missing_ok=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
