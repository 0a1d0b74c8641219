"""Turn raw text into a corpus: memory-mapped shards of piece ids with the boundaries of words, phrases and entities.

Input: plain text (one sentence or one paragraph per line) or JSON lines (one document per line) with `text` or
`paragraphs`; each also as .gz. In plain text a blank line separates documents; text without blank lines is a single
document, and documents are held out as a whole. Run the same command again to resume an interrupted run.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ernie_paddle import option_kinds as kinds
from ernie_paddle.cli import options as opt
from reader.prepare.documents import prepare
from reader.prepare.job import Progress
from reader.prepare.statistics import make_statistics
from reader.report import printable

FORMATS = ("auto", "lines", "paragraphs", "jsonl")
_STAGES = {"phrases": "finding phrases", "tokens": "tokenising", "shards": "writing shards"}
EXIT_TERMINATED = 143
_SECONDS_BETWEEN_LINES = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    opt.argument(parser, "inputs", str, "text files or glob patterns", several=True)
    opt.option(
        parser, "--vocab", Path, kinds.REQUIRED, "vocabulary file, SentencePiece model, or folder of a tokenizer"
    )
    opt.option(parser, "--output", Path, kinds.REQUIRED, "folder of the corpus")
    opt.option(
        parser, "--format", str, "auto", "format of the input; auto detects it by name and content", choices=FORMATS
    )
    opt.option(
        parser,
        "--segmenters",
        kinds.comma_list,
        [],
        "methods that find phrases and entities: phrases (statistical), capitals, gazetteer:FILE, jieba",
    )
    opt.option(
        parser,
        "--heldout",
        kinds.fraction,
        0.02,
        "fraction of the documents held out for evaluation, at least one document",
    )
    opt.option(
        parser,
        "--document_tokens",
        kinds.positive_int,
        None,
        "split longer documents at sentence ends into documents of about this many tokens, each held out on its own",
    )
    opt.option(parser, "--min_words", kinds.positive_int, None, "skip documents with fewer words")
    opt.option(parser, "--min_sentences", kinds.positive_int, None, "skip documents with fewer sentences")
    opt.option(parser, "--language", str, None, "language code of documents without one")
    opt.option(
        parser,
        "--workers",
        kinds.count,
        None,
        "number of worker processes; 0 uses only this process",
        shown_default="one per core",
    )
    opt.option(parser, "--seed", kinds.count, 0, "seed of the choice of held-out documents")
    opt.flag(parser, "--overwrite", False, "replace an existing corpus that was prepared with other settings")


class _TerminatedError(BaseException):
    """SIGTERM was received. Not an `Exception`, so that no handler on the way mistakes it for a failure."""


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end the block like Ctrl-C: worker processes stop, finished parts are kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: object) -> None:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(args: argparse.Namespace) -> int:
    """Prepare the corpus and print its size and what was skipped."""
    try:
        with _sigterm_raises():
            return _run(args)
    except _TerminatedError:
        print("ernie prepare: interrupted; run the same command again to resume", file=sys.stderr)
        return EXIT_TERMINATED


def _run(args: argparse.Namespace) -> int:
    summary = prepare(
        args.inputs,
        args.output,
        args.vocab,
        format=args.format,
        segmenters=args.segmenters,
        workers=args.workers,
        heldout=args.heldout,
        seed=args.seed,
        language=args.language,
        document_tokens=args.document_tokens,
        min_words=args.min_words,
        min_sentences=args.min_sentences,
        overwrite=args.overwrite,
        progress=progress_printer(),
    )
    make_statistics(args.output, summary.get("workers", 0))
    for line in summary_lines(summary):
        print(line)
    return 0


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Format the result of `reader.prepare.documents.prepare` for the user."""
    if summary["already_there"]:
        lines = [f"{summary['path']} already exists, prepared from the same input with the same settings"]
    else:
        megabytes, seconds = summary["bytes"] / 1e6, summary["seconds"]
        lines = [f"{summary['path']}: {megabytes:.1f} MB of text in {seconds:.1f} s ({megabytes / seconds:.1f} MB/s)"]
    for name, split in summary["splits"].items():
        lines.append(
            f"  {name:<8} {split['n_documents']:>9,} documents {split['n_sentences']:>11,} sentences "
            f"{split['n_tokens']:>13,} tokens   [UNK] {split['unk_rate']:.3%}"
        )
    if summary.get("phrases"):
        lines.append(f"  {summary['phrases']:,} statistical phrases")
    lines += [f"  note: {note}" for note in summary.get("notes", ())]
    skipped = sum(entry["count"] for entry in summary["skipped"].values())
    lines.append(f"  skipped: {skipped:,}" + (":" if skipped else ""))
    lines += [f"    {line}" for line in summary["skipped_lines"]]
    return [printable(line) for line in lines]


def progress_text(progress: Progress) -> str:
    """Format the progress of a stage: text in megabytes, other units by number."""
    stage = _STAGES.get(progress.stage, progress.stage)
    if progress.unit == "bytes":
        return f"{stage}: {progress.done / 1e6:.1f} of about {progress.total / 1e6:.1f} MB"
    total = f" of {progress.total:,}" if progress.total else ""
    return f"{stage}: {progress.done:,}{total} {progress.unit}"


def progress_printer() -> Callable[[Progress], None]:
    """A callback that rewrites one line on a terminal, and writes one every few seconds elsewhere."""
    shown = time.monotonic()
    terminal = sys.stderr.isatty()

    def show(progress: Progress) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < (0.2 if terminal else _SECONDS_BETWEEN_LINES):
            return
        shown = now
        share = f" ({min(1.0, progress.done / progress.total):.0%})" if progress.total else ""
        text = progress_text(progress) + share
        print(f"\r{text:<78}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    return show
