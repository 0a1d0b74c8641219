"""Mine sentence pairs with a discourse marker as their label from raw text (the Discovery rule; Sileo et al., 2019).

Adjacent sentences of a document make a pair where the second begins with a marker and a comma; the marker is taken out
and becomes the label. The table has the columns sentence1, sentence2, label and document. Then:
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
        parser, "--markers", Path, None, "file of markers, one per line", shown_default=f"{len(MARKERS)} of English"
    )
    opt.option(parser, "--format", str, "auto", "format of the input; auto goes by name and content", choices=FORMATS)
    opt.option(parser, "--min_words", kinds.positive_int, MiningRule.min_words, "least words of a sentence")
    opt.option(parser, "--max_words", kinds.positive_int, MiningRule.max_words, "most words of a sentence")
    opt.option(
        parser,
        "--max_per_marker",
        kinds.positive_int,
        None,
        "most pairs of a marker, chosen at random",
        shown_default="all",
    )
    opt.option(parser, "--seed", kinds.count, 0, "seed of that choice")
    opt.flag(parser, "--overwrite", False, "replace the table if it is there")


def run(args: argparse.Namespace) -> int:
    """Mine, write the table, print how many pairs of which markers there are."""
    if args.output.exists() and not args.overwrite:
        raise UserError(f"{args.output} is there already; name another file, or add --overwrite")
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
    """Write pairs as TSV; aside first, so that nothing half-written has the table's name."""
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
    """How many pairs were found, and of which markers."""
    lines = [f"{path}: {counts.total():,} pairs of {len(counts):,} markers"]
    if counts:
        most = ", ".join(f"{marker} {count:,}" for marker, count in counts.most_common(_MARKERS_SHOWN))
        lines.append(f"  {most}" + (", …" if len(counts) > _MARKERS_SHOWN else ""))
    return lines
