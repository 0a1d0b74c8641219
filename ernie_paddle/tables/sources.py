"""The text and the labelled tables for a table of a paper: the user's, or Python's own manual."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.manual_text import write_quickstart_data
from propeller.errors import UserError
from reader.corpora.corpus import CORPUS_FILE
from reader.prepare.documents import prepare
from reader.prepare.vocabulary import train_vocab

MANUAL = Benchmark(
    "topics", {"type": "classification", "text_a": "passage", "label": "topic"}, ["accuracy"], ["topics"]
)
"""The benchmark of the manual: from which of its largest topics does a passage come?"""


@dataclass(frozen=True)
class Sources:
    """A prepared corpus, its vocabulary, and benchmarks with their folder."""

    corpus: Path
    vocab: Path
    glue: Path
    benchmarks: list[Benchmark]


def find_benchmarks(glue: Path | None, wanted: Sequence[str] | None, usual: Sequence[str]) -> list[Benchmark]:
    """The benchmarks to fine-tune on: the requested ones, or those of the usual ones that exist.

    Raises:
        UserError: A requested benchmark is unknown or its files are missing.
    """
    if glue is None:
        if wanted:
            raise UserError("--tasks needs --glue, the folder with a folder for each benchmark")
        return []
    if not glue.is_dir():
        raise UserError(
            f"--glue {glue}: no such folder; give the folder with a folder for each benchmark, such as {glue / 'CoLA'}"
        )
    found = []
    for benchmark in load_suite("glue").find(wanted or usual, "--tasks"):
        try:
            benchmark.tables(glue)
        except UserError as error:
            if wanted:
                raise
            print(f"skipped: {error}", file=sys.stderr)
        else:
            found.append(benchmark)
    if not found:
        raise UserError(f"--glue {glue} has none of the benchmarks {', '.join(usual)}; name others with --tasks")
    return found


def tables_of(benchmark: Benchmark, glue: Path, rows: int | None, folder: Path) -> tuple[Path, Path]:
    """The training and development table of a benchmark, the former reduced to `rows` rows (a copy in `folder`).

    The remaining rows are evenly spaced over the table, which may be sorted.

    Raises:
        UserError: A table is missing.
    """
    train, dev = benchmark.tables(glue)
    if rows is None:
        return train, dev
    lines = (gzip.decompress(train.read_bytes()) if train.suffix == ".gz" else train.read_bytes()).splitlines(True)
    head, body = (lines[:1], lines[1:]) if benchmark.header else ([], lines)
    kept = range(len(body)) if len(body) <= rows else [len(body) * number // rows for number in range(rows)]
    cut = folder / f"{benchmark.name}-{rows}.tsv"
    content = b"".join(head + [body[number] for number in kept])
    if not cut.is_file() or cut.read_bytes() != content:
        folder.mkdir(parents=True, exist_ok=True)
        cut.write_bytes(content)
    return cut, dev


def make_sources(
    output: Path, data: Sequence[str], glue: Path | None, benchmarks: list[Benchmark], vocab_size: int
) -> Sources:
    """Make vocabulary and corpus in `output`, unless they exist; without any text, from Python's manual.

    Args:
        output: Folder of the table.
        data: Text files or glob patterns, or one prepared corpus, which is used directly.
        glue: Folder of the benchmarks.
        benchmarks: The benchmarks to fine-tune on.
        vocab_size: Number of pieces of the vocabulary.

    Raises:
        DataError: The text is unusable.
    """
    if len(data) == 1 and (Path(data[0]) / CORPUS_FILE).is_file():
        corpus = Path(data[0])
        return Sources(corpus, corpus, glue or output, benchmarks)
    if not data:
        print("no --data given: pre-training on Python's own manual", file=sys.stderr)
        manual = output / "manual"
        folder = manual / MANUAL.name if glue is None else manual
        data = [str(write_quickstart_data(folder).corpus)]
        if glue is None:
            print(f"no --glue given: fine-tuning on {MANUAL.name} of the manual", file=sys.stderr)
            glue, benchmarks = manual, [MANUAL]
    elif glue is None:
        print("no --glue given: no fine-tuning", file=sys.stderr)
    vocab, corpus = output / "vocab", output / "corpus"
    train_vocab(data, vocab, vocab_size)
    prepare(data, corpus, vocab, segmenters=("phrases", "capitals"), heldout=0.02)
    return Sources(corpus, vocab, glue or output, benchmarks)
