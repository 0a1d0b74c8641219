"""Turn the texts of a table into vectors: a NumPy file with one row per row of the table, in the same order.

A vector is the mean over the positions of a hidden layer, or the layer's [CLS]. Any model works, pre-trained or
fine-tuned for any task; for search, `ernie finetune --type retrieval` makes better vectors. An unusable row becomes a
vector of NaN and is reported; the exit code is 0 even then, and 2 if no row is usable.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.problems import report_problems
from ernie_paddle.finetune.networks.pooling import POOLINGS
from propeller.errors import UserError
from reader.errors import DataError
from reader.files.npy import NpyWriter
from reader.tables.cells import text_problem
from reader.tables.table import FORMATS, STDIN, open_table

_CHUNK_ROWS = 16384
_USUAL_LENGTH = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.option(parser, "--model", Path, kinds.REQUIRED, "checkpoint, folder of a run, or exported model")
    opt.option(parser, "--input", str, STDIN, "table with a column of texts; - is standard input")
    opt.option(parser, "--text", str, kinds.REQUIRED, "column of the texts")
    opt.option(parser, "--output", Path, kinds.REQUIRED, "file for the vectors, in NumPy's format (.npy), float32")
    opt.option(
        parser,
        "--pooling",
        str,
        None,
        "vector of a text: the mean of its tokens, or that of [CLS]",
        choices=POOLINGS,
        shown_default="that of a retrieval model, else mean",
    )
    opt.option(
        parser,
        "--layer",
        int,
        None,
        "hidden layer: 0 is the embeddings, n the n-th block, -1 the last",
        shown_default="the last",
    )
    opt.flag(parser, "--normalize", False, "scale vectors to length 1, which those of retrieval models always have")
    opt.option(
        parser,
        "--max_length",
        kinds.positive_int,
        None,
        "maximum input length in tokens, including special ones; longer inputs are truncated",
        shown_default="that of a retrieval model, else 128, at most the model's limit",
    )
    opt.option(
        parser, "--format", str, "auto", "format of the input; auto chooses by the file extension", choices=FORMATS
    )
    opt.flag(parser, "--header", True, "the first row names the columns; otherwise their names are 1, 2, …")
    opt.option(parser, "--batch", kinds.positive_int, 64, "rows per batch")


def run(args: argparse.Namespace) -> int:
    """Embed the texts, write the file, and report unusable rows on stderr."""
    from ernie_paddle.checkpoints.model_dir import open_model_dir
    from ernie_paddle.finetune.serving.text_vectors import own_pooling, text_vectors
    from reader.batches.rows import encode_rows

    model = open_model_dir(args.model)
    settings = model.task_settings or {}
    own = int(settings["max_length"]) if own_pooling(model) is not None else _USUAL_LENGTH
    max_length = args.max_length or min(own, model.config.max_length)
    if not 3 <= max_length <= model.config.max_length:
        raise UserError(f"--max_length {max_length} must lie between 3 and the model's {model.config.max_length}")
    vectors = text_vectors(model, args.pooling, args.layer, args.normalize)
    problems: list[tuple[int, str]] = []
    with open_table(args.input, args.format, args.header) as table:
        table.require(args.text)
        with NpyWriter(args.output, vectors.width) as file:
            while chunk := list(itertools.islice(table.rows, _CHUNK_ROWS)):
                found = [(row.line, row.problem or text_problem(row, args.text, None)) for row in chunk]
                problems += [(line, problem) for line, problem in found if problem]
                usable = np.flatnonzero([not problem for _, problem in found])
                block = np.full((len(chunk), vectors.width), np.nan, np.float32)
                if len(usable):
                    texts = [chunk[row].cells[args.text] for row in usable]
                    encoded = encode_rows(model.tokenizer, texts, None, max_length, model.config.layout)
                    block[usable] = vectors.of(encoded, model.tokenizer.vocab.pad, args.batch)
                file.write(block)
            if not file.rows:
                raise DataError(f"{table.name}: no rows")
            rows = file.rows
    length = ", length 1" if vectors.unit else ""
    print(
        f"{rows:,} vectors of {vectors.width} ({vectors.pooling} of layer {vectors.layer}{length}) in {args.output}",
        file=sys.stderr,
    )
    report_problems("embed", problems, rows, "line", "their vectors are NaN")
    return 2 if len(problems) == rows else 0
