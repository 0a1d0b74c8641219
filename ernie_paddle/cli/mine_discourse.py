"""Mine sentence pairs labelled with a discourse marker from raw text (the Discovery rule; Sileo et al., 2019).

Adjacent sentences of a document make a pair if the second begins with a marker and a comma; the marker is removed and
becomes the label. The table has the columns sentence1, sentence2, label and document. To make a corpus of it, run:
ernie prepare-pairs TABLE --text_a sentence1 --text_b sentence2 --label label --group document …
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from ernie_paddle.cli.prepare import FORMATS
from propeller.errors import UserError
from reader.report import SkipReport, printable
from reader.text.discourse import COLUMNS, MARKERS, MarkedPair, MiningRule, balance, mine, read_markers
from reader.text.documents import read_documents

_MARKERS_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.argument(parser, "inputs", str, "text files or glob patterns, as for ernie prepare", several=True)
    opt.option(parser, "--output", Path, kinds.REQUIRED, "table to write (TSV)")
    opt.option(
        parser,
        "--markers",
        Path,
        None,
        "file of markers, one per line",
        shown_default=f"{len(MARKERS)} English markers",
    )
    opt.option(
        parser, "--format", str, "auto", "format of the input; auto detects it by name and content", choices=FORMATS
    )
    opt.option(parser, "--min_words", kinds.positive_int, MiningRule.min_words, "minimum number of words in a sentence")
    opt.option(parser, "--max_words", kinds.positive_int, MiningRule.max_words, "maximum number of words in a sentence")
    opt.option(
        parser,
        "--max_per_marker",
        kinds.positive_int,
        None,
        "maximum number of pairs per marker, chosen at random",
        shown_default="all",
    )
    opt.option(parser, "--seed", kinds.count, 0, "seed of the random choice of pairs")
    opt.flag(parser, "--overwrite", False, "replace an existing table")


def run(args: argparse.Namespace) -> int:
    """Mine pairs, write the table, and print the number of pairs by marker."""
    if args.output.exists() and not args.overwrite:
        raise UserError(f"{args.output} already exists; give another file, or add --overwrite")
    rule = MiningRule(MARKERS if args.markers is None else read_markers(args.markers), args.min_words, args.max_words)
    report = SkipReport()
    pairs: Iterable[MarkedPair] = mine(read_documents(args.inputs, args.format, report=report), rule, report)
    if args.max_per_marker is not None:
        pairs = balance(pairs, args.max_per_marker, args.seed, report)
    counts: Counter[str] = Counter()
    write_table(args.output, _counted(pairs, counts))
    for line in (*summary_lines(args.output, counts), *report.lines()):
        print(printable(line))
    return 0


def write_table(path: Path, pairs: Iterable[MarkedPair]) -> None:
    """Write pairs as TSV, first under a temporary name, so that an incomplete table never has the final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    with aside.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(COLUMNS) + "\n")
        for pair in pairs:
            document = " ".join(printable(pair.document).split())
            file.write("\t".join((pair.first, pair.second, pair.marker, document)) + "\n")
    os.replace(aside, path)


def _counted(pairs: Iterable[MarkedPair], counts: Counter[str]) -> Iterator[MarkedPair]:
    for pair in pairs:
        counts[pair.marker] += 1
        yield pair


def summary_lines(path: Path, counts: Counter[str]) -> list[str]:
    """Lines with the number of pairs by marker."""
    lines = [f"{path}: {counts.total():,} pairs of {len(counts):,} markers"]
    if counts:
        most = ", ".join(f"{marker} {count:,}" for marker, count in counts.most_common(_MARKERS_SHOWN))
        lines.append(f"  {most}" + (", …" if len(counts) > _MARKERS_SHOWN else ""))
    return lines
