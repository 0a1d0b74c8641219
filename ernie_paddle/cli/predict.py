"""Make predictions for the rows of a table with a fine-tuned checkpoint or an exported model.

Every row of the input gives one row of output, in order: its line number (and its number within the line, in formats
with several rows per line), the prediction, probabilities, and for an unusable row the reason instead. The exit code is
0 even if some rows are unusable, and 2 if all are, or after a mistake in options or files.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.columns import add_column_options, given_columns
from ernie_paddle.cli.output_file import check_output
from ernie_paddle.cli.problems import report_problems
from ernie_paddle.finetune.task_type import FORMATS
from reader.errors import DataError
from reader.tables.table import FORMATS as TABLE_FORMATS
from reader.tables.table import STDIN

_SUFFIXES = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "tsv"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.option(parser, "--model", Path, kinds.REQUIRED, "fine-tuned checkpoint, folder of a run, or exported model")
    opt.option(parser, "--input", str, STDIN, "table with the text columns of the training table; - is standard input")
    opt.option(
        parser,
        "--format",
        str,
        "auto",
        "format of the input; auto: as in training, or by the file extension",
        choices=FORMATS,
    )
    add_column_options(parser, labels=False)
    opt.option(parser, "--output", Path, None, "file for the predictions", shown_default="standard output")
    opt.option(
        parser,
        "--output_format",
        str,
        "auto",
        "format of the predictions; auto chooses by the file extension, else tsv",
        choices=TABLE_FORMATS,
    )
    opt.option(parser, "--batch", kinds.positive_int, 64, "rows per batch")


def run(args: argparse.Namespace) -> int:
    """Write one prediction for each row, and report unusable rows on stderr."""
    from ernie_paddle.finetune.run import predict

    check_output(args.output)
    found = predict(args.model, args.input, format=args.format, batch=args.batch, **given_columns(args, labels=False))
    rows = 0
    first = next(found.chunks, None)  # before any output, so that an unusable model or table leaves none
    if first is None:
        raise DataError(f"{'standard input' if args.input == STDIN else args.input}: no rows to predict")
    with _open_output(args.output) as stream:
        write = _writer(stream, _output_format(args), found.columns)
        for chunk in itertools.chain([first], found.chunks):
            for answer in chunk:
                write(answer)
            rows += len(chunk)
    report_problems("predict", found.problems, rows, found.counted, "column `problem` of the output")
    return 2 if found.problems and len(found.problems) == rows else 0


def _output_format(args: argparse.Namespace) -> str:
    if args.output_format != "auto":
        return str(args.output_format)
    return "tsv" if args.output is None else _SUFFIXES.get(args.output.suffix, "tsv")


@contextmanager
def _open_output(path: Path | None) -> Iterator[TextIO]:
    """Open standard output, or a file that gets its final name when it is complete."""
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    aside = path.with_name(f".tmp-{path.name}")
    try:
        with open(aside, "w", encoding="utf-8", newline="") as stream:
            yield stream
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _writer(stream: TextIO, format: str, columns: list[str]) -> Any:
    """A function that writes one prediction; TSV and CSV get a header and numbers with 8 digits."""
    if format == "jsonl":
        return lambda answer: stream.write(json.dumps(answer, ensure_ascii=False) + "\n")

    def cells(answer: dict[str, Any]) -> list[str]:
        return [_cell(answer.get(column, "")) for column in columns]

    if format == "csv":
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(columns)
        return lambda answer: table.writerow(cells(answer))
    stream.write("\t".join(columns) + "\n")
    # A TSV has no quotes, so tabs and line ends in a cell become spaces.
    return lambda answer: stream.write(
        "\t".join(" ".join(cell.splitlines()).replace("\t", " ") for cell in cells(answer)) + "\n"
    )


def _cell(value: Any) -> str:
    """Format a value for TSV or CSV; items of a list are separated by spaces."""
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return f"{value:.8g}" if isinstance(value, float) else str(value)
