"""The options of `ernie finetune`, in groups, and which task types some of them are for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from ernie_paddle.cli import options as opt
from ernie_paddle.finetune.metrics.answer_metrics import SCORINGS
from ernie_paddle.finetune.networks.feature_sets import FEATURES
from ernie_paddle.finetune.networks.pooling import POOLINGS
from ernie_paddle.finetune.task_type import FORMATS, TASK_TYPES
from propeller.errors import UserError
from propeller.run.lr import Kind as Schedule
from reader.tables.marks import UNITS
from reader.tables.tags import ALIGNMENTS, SCHEMES

_ROW_OPTIONS = {
    "group": ("classification", "span_classification"),
    "candidate": ("classification", "span_classification"),
    "label_aliases": ("classification", "span_classification"),
    "choices": ("multiple_choice",),
    "spans": ("span_classification",),
    "features": ("labelling",),
    "where": ("classification", "multiple_choice", "regression", "span_classification"),
    "no_label": ("classification", "multiple_choice", "regression", "span_classification"),
}
"""The task types that an option is for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    _add_data_arguments(parser)
    _add_window_arguments(parser)
    _add_row_arguments(parser)
    _add_retrieval_arguments(parser)
    _add_model_arguments(parser)
    _add_training_arguments(parser)
    _add_running_arguments(parser)


def check_task_options(args: argparse.Namespace) -> None:
    """Refuse options that the task type has no use for.

    Raises:
        UserError: one is given.
    """
    for name, types in _ROW_OPTIONS.items():
        if getattr(args, name) is not None and args.type not in types:
            raise UserError(f"--{name} is for {' and '.join(types)}; leave it out for --type {args.type}")


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that name the tables and their columns."""
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
    opt.option(
        data,
        "--no_label",
        opt.comma_list,
        None,
        "labels that say that a row has none, as - in OCNLI; such rows are left out and counted",
    )
    opt.flag(data, "--skip_unusable", False, "leave out rows that cannot be used, and say how many")


def _add_window_arguments(parser: argparse.ArgumentParser) -> None:
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


def _add_retrieval_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the task type that compares texts."""
    retrieval = parser.add_argument_group("retrieval")
    opt.option(retrieval, "--pooling", str, POOLINGS[0], "what of a text is its vector", choices=POOLINGS)
    opt.option(retrieval, "--temperature", opt.positive_number, 0.05, "what cosines are divided by in the loss")


def _add_row_arguments(parser: argparse.ArgumentParser) -> None:
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


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say what to start from."""
    model = parser.add_argument_group("model")
    opt.option(model, "--model", Path, None, "checkpoint to start from; none: random weights of --size")
    opt.option(model, "--size", str, "small", "without --model: tiny, small, base, large, or a name in configs/arch")
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


def _add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the optimizer and the loss."""
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
        "--dropout",
        opt.fraction,
        None,
        "rate of dropout in training: of hidden layers, attention and the head",
        shown_default="the model's own",
    )
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


def _add_running_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the run and its folder."""
    running = parser.add_argument_group("running")
    opt.option(running, "--output", Path, opt.REQUIRED, "folder of the run")
    opt.flag(running, "--overwrite", False, "throw away the run in --output and start anew")
    opt.option(running, "--micro_batch", opt.positive_int, 64, "most rows of one forward pass; more are accumulated")
    opt.option(running, "--eval_batch", opt.positive_int, 64, "rows of a batch in evaluation")
    opt.option(running, "--save_steps", opt.positive_int, 1000, "updates between checkpoints inside an epoch")
    opt.option(running, "--log_every", opt.positive_int, 50, "updates between progress lines")
