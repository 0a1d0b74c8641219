"""Train a model for a task on a labelled table, and keep the best checkpoint.

Rerun the same command to continue an interrupted run. Under fleetrun every device trains on its share of each batch.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ernie_paddle.cli import options as opt
from ernie_paddle.finetune.answer_metrics import SCORINGS
from ernie_paddle.finetune.feature_sets import FEATURES
from ernie_paddle.finetune.pooling import POOLINGS
from ernie_paddle.finetune.task_type import FORMATS, TASK_TYPES, task_class
from propeller.errors import UserError
from propeller.lr import Kind as Schedule
from reader.marks import UNITS
from reader.table import STDIN
from reader.tags import ALIGNMENTS, SCHEMES

RESULTS = "results.json"
_ROW_OPTIONS = {
    "group": ("classification", "span_classification"),
    "candidate": ("classification", "span_classification"),
    "label_aliases": ("classification", "span_classification"),
    "choices": ("multiple_choice",),
    "spans": ("span_classification",),
    "features": ("labelling",),
    "where": ("classification", "multiple_choice", "regression", "span_classification"),
}
"""The task types that an option is for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    data = parser.add_argument_group("data")
    opt.option(
        data,
        "--task",
        str,
        None,
        "published benchmark, such as CoLA or squad/SQuAD-1.1: sets the options of its tables and of its recipe for "
        "the model's size, which other options replace",
    )
    opt.option(data, "--data_dir", Path, None, "with --task: folder that holds a folder per benchmark")
    opt.option(data, "--recipe", str, None, "with --task: whose recipe to use", shown_default="the first that fits")
    opt.option(data, "--train", str, opt.REQUIRED, "training table")
    opt.option(data, "--dev", str, opt.REQUIRED, "development table; decides which checkpoint is best")
    opt.option(data, "--type", str, "classification", "task type", choices=sorted(TASK_TYPES))
    opt.option(
        data,
        "--text_a",
        str,
        None,
        "column of the (first) text or the tokens; a|b, here and for other columns: the first that a table has",
    )
    opt.option(data, "--text_b", str, None, "column of the second text, for pairs")
    opt.option(
        data,
        "--label",
        str,
        None,
        "column of the label, score or tags",
        shown_default="label, in CoNLL columns the last",
    )
    opt.option(data, "--labels", opt.comma_list, None, "the labels in order", shown_default="all in the training table")
    opt.option(
        data, "--label_aliases", opt.comma_list, None, "classification: other names of labels in tables, as other=label"
    )
    opt.option(
        data,
        "--where",
        str,
        None,
        "rows to take, as language=zh: those with another value in this column are passed over; a table without it is "
        "taken whole",
    )
    opt.option(data, "--format", str, "auto", "format of the tables; auto goes by the extension", choices=FORMATS)
    opt.flag(data, "--header", True, "the first row names the columns; without, columns are called 1, 2, …")
    opt.flag(data, "--skip_unusable", False, "leave out training rows that cannot be used, and say how many")
    add_window_arguments(parser)
    add_row_arguments(parser)
    add_retrieval_arguments(parser)
    model = parser.add_argument_group("model")
    opt.option(model, "--model", Path, None, "checkpoint to start from; none: random weights of --size")
    opt.option(model, "--size", str, "small", "without --model: small, base, large, or a name in configs/arch")
    opt.option(model, "--vocab", Path, None, "without --model: vocabulary file or tokenizer folder")
    opt.option(
        model,
        "--max_length",
        opt.positive_int,
        None,
        "longest input, special pieces included; longer is cut",
        shown_default="384 for question_answering, else 128, at most the model's limit",
    )
    opt.option(
        model,
        "--task_id",
        str,
        None,
        "task embedding to use: the name of a task of the model's pre-training recipe, or a number",
        shown_default="the model's own, which is 0 after pre-training",
    )
    training = parser.add_argument_group("training")
    opt.option(training, "--epochs", opt.positive_int, 3, "passes over the training table")
    opt.option(training, "--batch_size", opt.positive_int, 32, "rows of one update, over all devices")
    opt.option(training, "--lr", opt.positive_number, 5e-5, "peak learning rate")
    opt.option(
        training, "--schedule", str, "linear", "what the learning rate does after warmup", choices=get_args(Schedule)
    )
    opt.option(training, "--warmup", opt.fraction, 0.1, "share of the updates over which the rate grows")
    opt.option(
        training,
        "--layer_decay",
        opt.ratio,
        None,
        "factor of the learning rate from each layer to the one below it, down to the embeddings; heads keep all of it",
    )
    opt.option(training, "--weight_decay", opt.non_negative_number, 0.01, "decoupled weight decay, none on vectors")
    opt.option(training, "--adam_epsilon", opt.positive_number, 1e-8, "added to the root of Adam's second moment")
    opt.option(
        training,
        "--class_weights",
        opt.comma_list,
        None,
        "classification: a weight for each label in their order, or balanced: the rarer a class, the more it weighs",
    )
    opt.option(
        training, "--rdrop", opt.non_negative_number, 0.0, "R-Drop: weight of the divergence of two passes; 0: off"
    )
    opt.option(
        training,
        "--fgm",
        opt.non_negative_number,
        0.0,
        "adversarial training: length by which the word vectors of a row are moved; 0: off",
    )
    opt.option(training, "--clip_norm", opt.positive_number, 1.0, "largest global gradient norm")
    opt.option(training, "--seed", opt.count, 0, "seed of everything random")
    opt.option(training, "--metric", str, None, "metric that decides", shown_default="the first of the task type")
    opt.option(training, "--patience", opt.positive_int, None, "end after so many evaluations without improvement")
    opt.option(
        training, "--precision", str, "float32", "type of computation", choices=("float32", "bfloat16", "float16")
    )
    running = parser.add_argument_group("running")
    opt.option(running, "--output", Path, opt.REQUIRED, "folder of the run")
    opt.flag(running, "--overwrite", False, "throw away the run in --output and start anew")
    opt.option(running, "--micro_batch", opt.positive_int, 64, "most rows of one forward pass; more are accumulated")
    opt.option(running, "--eval_batch", opt.positive_int, 64, "rows of a batch in evaluation")
    opt.option(running, "--save_steps", opt.positive_int, 1000, "updates between checkpoints inside an epoch")
    opt.option(running, "--log_every", opt.positive_int, 50, "updates between progress lines")


def expand(argv: list[str]) -> list[str]:
    """The options with those that `--task` stands for."""
    from ernie_paddle.benchmarks.expand import expand_task

    return expand_task(argv)


def add_window_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the task types that cut long texts into windows."""
    windows = parser.add_argument_group("labelling and question answering")
    opt.option(
        windows,
        "--doc_stride",
        opt.positive_int,
        None,
        "pieces from one window of a long text to the next",
        shown_default="128, or half a window in labelling",
    )
    opt.option(
        windows,
        "--scheme",
        str,
        "auto",
        "labelling: scheme of the tags that the model learns; auto goes by the training table, none: plain labels",
        choices=("auto", *SCHEMES),
    )
    opt.option(
        windows,
        "--features",
        str,
        None,
        "labelling: freeze the encoder, and train a BiLSTM on these of its hidden layers (BERT 5.3)",
        choices=tuple(FEATURES),
        shown_default="none: fine-tuning",
    )
    opt.option(windows, "--align", str, "first", "labelling: which pieces of a token get its tag", choices=ALIGNMENTS)
    opt.option(windows, "--max_query_length", opt.positive_int, 64, "question answering: longest question in pieces")
    opt.option(windows, "--max_answer_length", opt.positive_int, 30, "question answering: longest answer in pieces")
    opt.option(windows, "--n_best", opt.positive_int, 20, "question answering: answers to choose from")
    opt.option(
        windows,
        "--scoring",
        str,
        "auto",
        "question answering: definition of the metrics; auto goes by the training data: squad2 where questions without "
        "answer occur, cmrc2018 where most answers are Chinese, else squad",
        choices=("auto", *SCORINGS),
    )


def add_retrieval_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the task type that compares texts."""
    retrieval = parser.add_argument_group("retrieval")
    opt.option(retrieval, "--pooling", str, POOLINGS[0], "what of a text is its vector", choices=POOLINGS)
    opt.option(retrieval, "--temperature", opt.positive_number, 0.05, "what cosines are divided by in the loss")


def add_row_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the task types whose rows are more than one or two texts and a label."""
    rows = parser.add_argument_group("candidates, choices and spans")
    opt.option(
        rows,
        "--group",
        opt.comma_list,
        None,
        "classification: columns that say which rows are candidates of one question; adds mrr, map, group_exact, top1",
    )
    opt.option(rows, "--candidate", str, None, "with --group: column of a row's candidate; adds top1_f1")
    opt.option(rows, "--choices", opt.comma_list, None, "multiple_choice: the columns of the choices, in order")
    opt.option(
        rows,
        "--spans",
        opt.comma_list,
        None,
        "span_classification: two columns for each span, as start1:end1,start2:end2",
    )
    opt.option(
        rows,
        "--span_unit",
        str,
        UNITS[0],
        "span_classification: the columns are first character and end, or number of the first word and the words",
        choices=UNITS,
    )


def run(args: argparse.Namespace) -> int:
    """Train, report, and return the exit code."""
    from ernie_paddle.finetune.class_weights import class_weights
    from ernie_paddle.finetune.question_answering import QuestionAnswering
    from ernie_paddle.finetune.start import start_at_random, start_from_model
    from ernie_paddle.finetune.task_id import with_task_id
    from ernie_paddle.finetune.trainer import FinetuneConfig, Finetuner, RunOptions
    from propeller import distributed
    from propeller.precision import PrecisionConfig

    if args.train == STDIN:
        raise UserError("--train cannot be standard input, since the training table is read twice; give a file")
    chief = distributed.rank() == 0
    start = start_at_random(args.size, args.vocab) if args.model is None else start_from_model(args.model)
    chosen = task_class(args.type)
    for name, types in _ROW_OPTIONS.items():
        if getattr(args, name) is not None and args.type not in types:
            raise UserError(f"--{name} is for {' and '.join(types)}; leave it out for --type {args.type}")
    if args.task_id is not None:
        start = replace(start, config=with_task_id(start.config, args.task_id, args.model))
    if args.max_length is None:
        args.max_length = min(chosen.usual_length, start.config.max_length)
    if args.max_length > start.config.max_length:
        raise UserError(f"--max_length {args.max_length} is more than the model's {start.config.max_length}")
    task = chosen.from_options(args)
    strict = not args.skip_unusable
    train = task.read(args.train, start.tokenizer, labelled=True, strict=strict, format=args.format)
    left_out, train = train.problems, train.for_training()
    if not len(train):
        raise UserError(f"{args.train}: nothing in it can be trained on")
    dev = task.read(args.dev, start.tokenizer, labelled=True, strict=True, format=args.format)
    if chief:
        if left_out:
            line, reason = left_out[0]
            _say(f"{args.train}: {len(left_out):,} unusable left out, the first in {task.counted} {line}: {reason}")
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
        report = {"step": best_step, "best": best, "baseline": baseline, "rows": dev.examples, "steps": outcome.step}
        (args.output / RESULTS).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    elif chief:
        _say(f"stopped after step {outcome.step}; run the same command again to continue")
    return outcome.exit_code


def result_table(rows: dict[str, dict[str, float]]) -> str:
    """Metrics as columns, one line for each named row; a metric that a row lacks is shown as a dash."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    width = max(map(len, rows)) + 2
    wide = {name: max(10, len(name) + 2) for name in names}
    lines = [" " * width + "".join(f"{name:>{wide[name]}}" for name in names)]
    for title, row in rows.items():
        cells = (f"{row[name]:>{wide[name]}.4f}" if name in row else f"{'-':>{wide[name]}}" for name in names)
        lines.append(f"{title:<{width}}" + "".join(cells))
    return "\n".join(lines)


def discard_run(folder: Path) -> None:
    """Remove what an earlier run left in its folder, and nothing else."""
    from propeller import run_folder

    run_folder.discard(folder)
    (folder / RESULTS).unlink(missing_ok=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
