"""Turn tables of labelled text pairs into a corpus of pairs, for objectives that read labelled pairs.

Input: TSV or CSV with a header, JSON lines, or .rels of DISRPT, by file extension; each also as .gz. In a recipe, name
the corpus in tasks.NAME.corpora of a task with the objective discourse_relation or ir_relevance.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.prepare import progress_printer
from reader.prepare.pair_parts import PairColumns
from reader.prepare.pairs import prepare_pairs
from reader.report import printable
from reader.tables.table import FORMATS

_LABELS_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.argument(parser, "inputs", str, "tables or glob patterns", several=True)
    opt.option(
        parser, "--vocab", Path, kinds.REQUIRED, "vocabulary file, SentencePiece model, or folder of a tokenizer"
    )
    opt.option(parser, "--output", Path, kinds.REQUIRED, "folder of the corpus")
    opt.option(parser, "--text_a", str, kinds.REQUIRED, "column of the first text")
    opt.option(parser, "--text_b", str, kinds.REQUIRED, "column of the second text")
    opt.option(parser, "--label", str, kinds.REQUIRED, "column of the label")
    opt.option(
        parser,
        "--labels",
        label_names,
        None,
        "the labels to use, in this order, each as NAME or IN_TABLE=NAME, separated by commas",
        shown_default="all labels, sorted",
    )
    opt.option(
        parser, "--format", str, "auto", "format of the input; auto chooses by the file extension", choices=FORMATS
    )
    opt.option(
        parser, "--heldout", kinds.fraction, 0.02, "fraction of the rows held out for evaluation, at least one group"
    )
    opt.option(
        parser,
        "--group",
        str,
        None,
        "column of a group, such as a document; rows with equal values are held out together",
        shown_default="the column of the first text",
    )
    opt.option(parser, "--seed", kinds.count, 0, "seed of the choice of held-out rows")
    opt.flag(parser, "--overwrite", False, "replace an existing corpus that was prepared with other settings")


def label_names(text: str) -> dict[str, str]:
    """Parse labels as NAME or IN_TABLE=NAME, separated by commas."""
    names: dict[str, str] = {}
    for part in kinds.comma_list(text):
        label, equals, name = (piece.strip() for piece in part.partition("="))
        if not label or (equals and not name):
            raise argparse.ArgumentTypeError(f"{part!r} is neither NAME nor IN_TABLE=NAME")
        if label in names:
            raise argparse.ArgumentTypeError(f"the label {label!r} is named twice")
        names[label] = name or label
    if not names:
        raise argparse.ArgumentTypeError("no label is given")
    return names


def run(args: argparse.Namespace) -> int:
    """Prepare the corpus and print its size and what was skipped."""
    summary = prepare_pairs(
        args.inputs,
        args.output,
        args.vocab,
        PairColumns(args.text_a, args.text_b, args.label, args.group, args.labels),
        format=args.format,
        heldout=args.heldout,
        seed=args.seed,
        overwrite=args.overwrite,
        progress=progress_printer(),
    )
    for line in summary_lines(summary):
        print(line)
    return 0


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Format the result of `reader.prepare.pairs.prepare_pairs` for the user."""
    if summary["already_there"]:
        lines = [f"{summary['path']} already exists, prepared from the same input with the same settings"]
    else:
        megabytes = summary["bytes"] / 1e6
        lines = [f"{summary['path']}: {megabytes:.1f} MB of tables in {summary['seconds']:.1f} s"]
    for name, split in summary["splits"].items():
        lines.append(
            f"  {name:<8} {split['n_documents']:>9,} pairs {split['n_tokens']:>13,} tokens   "
            f"[UNK] {split['unk_rate']:.3%}   {label_counts(summary['labels'], split['labels'])}"
        )
    lines += [f"  note: {note}" for note in summary["notes"]]
    skipped = sum(entry["count"] for entry in summary["skipped"].values())
    lines.append(f"  skipped: {skipped:,}" + (":" if skipped else ""))
    lines += [f"    {line}" for line in summary["skipped_lines"]]
    return [printable(line) for line in lines]


def label_counts(labels: list[str], counts: list[int]) -> str:
    """Format the number of pairs by label, such as "strong 12, weak 30"; for many labels the most frequent ones."""
    pairs = list(zip(labels, counts, strict=True))
    if len(pairs) <= _LABELS_SHOWN:
        return ", ".join(f"{name} {count:,}" for name, count in pairs)
    most = sorted(pairs, key=lambda pair: -pair[1])[:_LABELS_SHOWN]
    return f"{len(pairs):,} labels: " + ", ".join(f"{name} {count:,}" for name, count in most) + ", …"
