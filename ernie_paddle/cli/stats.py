"""Compute the statistics of a corpus that objectives need (such as document frequencies), and print a summary.

`ernie prepare` computes them too; use this verb for corpora of earlier versions, or to see the statistics.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from reader.prepare.statistics import LONGEST_SPAN, STATISTICS_FILE, Statistics, entropy, make_statistics
from reader.report import printable
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.vocab import Vocab


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.argument(parser, "corpus", Path, "folder of a corpus")
    opt.option(parser, "--top", kinds.count, 10, "number of pieces to print of each kind")
    opt.option(
        parser,
        "--workers",
        kinds.count,
        0,
        "number of worker processes, useful for a corpus of several shards; 0 uses only this process",
    )


def run(args: argparse.Namespace) -> int:
    """Compute missing statistics and print the summary."""
    statistics = make_statistics(args.corpus, args.workers)
    print(f"{args.corpus / STATISTICS_FILE}: the training split of {args.corpus}")
    for line in summary_lines(statistics, load_tokenizer(args.corpus).vocab, args.top):
        print(printable(line))
    return 0


def summary_lines(statistics: Statistics, vocab: Vocab, top: int) -> Iterator[str]:
    """Format the statistics for the user."""
    counts, frequency, idf = statistics.counts, statistics.document_frequency, statistics.idf()
    tokens = int(counts.sum())
    used = np.flatnonzero(frequency)
    yield f"  documents         {statistics.n_documents:,}, of {tokens / max(1, statistics.n_documents):,.1f} tokens"
    yield f"  tokens            {tokens:,}"
    yield f"  unigram entropy   {entropy(counts):.4f} nats per token"
    yield f"  pieces            {len(used):,} of {vocab.size:,} occur, {int((frequency == 1).sum()):,} in one document"
    for name, lengths in (("phrases", statistics.phrase_lengths), ("entities", statistics.entity_lengths)):
        sizes = np.flatnonzero(lengths)
        shown = ", ".join(f"{int(lengths[k]):,} of {k}{'+' if k == LONGEST_SPAN else ''}" for k in sizes.tolist())
        yield f"  {name:<17} {int(lengths.sum()):,}" + (f" (by tokens: {shown})" if shown else "")
    # Among pieces of equal idf, those that occur most often in their few documents come first.
    for what, order in (
        ("lowest idf", used[np.lexsort((-counts[used], idf[used]))]),
        ("highest idf", used[np.lexsort((-counts[used], -idf[used]))]),
    ):
        pieces = (f"{vocab.pieces[i]} {idf[i]:.2f}" for i in order[:top].tolist())
        yield f"  {what:<17} " + ", ".join(pieces)
