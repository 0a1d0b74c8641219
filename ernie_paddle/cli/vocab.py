"""Train a WordPiece or SentencePiece vocabulary on raw text; equal text and settings give equal vocabularies."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from reader.prepare.vocabulary import KINDS, LEAST_COVERAGE, LEAST_LIMIT, LEAST_SIZE, LIMIT_BYTES, train_vocab
from reader.report import SkipReport, printable

_COVERAGE = "fraction of the text whose characters get a piece of their own, " + ", ".join(
    f"{least} to 1 for {kind}" for kind, least in LEAST_COVERAGE.items()
)
FORMATS = ("auto", "lines", "paragraphs", "jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.argument(parser, "inputs", str, "text files or glob patterns, as for `ernie prepare`", several=True)
    opt.option(parser, "--output", Path, kinds.REQUIRED, "folder of the tokenizer, which is the --vocab of other verbs")
    opt.option(parser, "--size", _size, 8000, "number of pieces; little text may give fewer")
    opt.option(parser, "--type", str, "wordpiece", "kind of vocabulary", choices=KINDS)
    opt.option(
        parser, "--format", str, "auto", "format of the input; auto detects it by name and content", choices=FORMATS
    )
    opt.flag(parser, "--lowercase", True, "fold capitals (prepared corpora still record where they were)")
    opt.option(parser, "--coverage", kinds.coverage, 0.9999, _COVERAGE)
    opt.option(parser, "--limit", _bytes, LIMIT_BYTES, "bytes of text to train on, sampled evenly from the whole input")
    opt.flag(parser, "--overwrite", False, "replace another vocabulary in the folder")


def _size(text: str) -> int:
    """A whole number of at least LEAST_SIZE."""
    return kinds.at_least(text, LEAST_SIZE)


def _bytes(text: str) -> int:
    """A whole number of at least LEAST_LIMIT."""
    return kinds.at_least(text, LEAST_LIMIT)


def run(args: argparse.Namespace) -> int:
    """Train the vocabulary and print its size."""
    began = time.monotonic()
    report = SkipReport()
    tokenizer = train_vocab(
        args.inputs,
        args.output,
        args.size,
        kind=args.type,
        format=args.format,
        lowercase=args.lowercase,
        character_coverage=args.coverage,
        limit_bytes=args.limit,
        overwrite=args.overwrite,
        report=report,
    )
    vocab = tokenizer.vocab
    print(f"{args.output}: {vocab.size:,} pieces ({args.type}) in {time.monotonic() - began:.1f} s")
    if vocab.size < args.size:
        print(f"  fewer than the requested {args.size:,}, because the text has no more pieces that occur often enough")
    for line in (f"  skipped: {report.total:,}" + (":" if report.total else ""), *(f"    {x}" for x in report.lines())):
        print(printable(line))
    return 0
