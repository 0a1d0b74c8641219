"""How fast training's batches are made, in real tokens per second: the production path, as `ernie pretrain` runs it.

A step's whole work is in it: which samples, reading them from memory-mapped shards, arranging, padding, labelling and
masking, and the way from a worker process to this one. Run it with `python -m bench loader`; the corpus is synthetic
and lives in a temporary directory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from ernie_paddle.examples import RunReader, TaskData
from ernie_paddle.schedules import Schedule, Stage
from reader.corpus import Shard, write_corpus
from reader.flags import CAPITAL, ENTITY_CONT, IN_ENTITY, IN_PHRASE, PHRASE_CONT, UPPER, WORD_START
from reader.prefetch import prefetch
from reader.vocab import SPECIALS, Vocab
from reader.wordpiece import WordPieceTokenizer

VOCAB_SIZE = 30522
MASKING = ("knowledge_masking",)
ALL_THREE = ("knowledge_masking", "capitalization", "sentence_reordering")
CASES = ((MASKING, 512), (MASKING, 128), (ALL_THREE, 512))
WORKERS = (0, 1, 2)
RATE_GOALS: dict[tuple[tuple[str, ...], int], int] = {(MASKING, 512): 1_000_000}  # of one worker


def synthetic_corpus(path: Path, n_tokens: int, seed: int = 0) -> None:
    """Documents of about 800 tokens, sentences of 5 to 45, words of 1 to 4 pieces (1.3 in the mean), one shard.

    A tenth of the words continue a phrase or an entity, a tenth have a capital.
    """
    generator = np.random.default_rng(seed)
    sentences = generator.integers(5, 46, size=n_tokens // 25)
    sentence_offsets = np.concatenate([[0], np.cumsum(sentences)])
    n = int(sentence_offsets[-1])
    n_sentences = len(sentences)
    cuts = np.flatnonzero(generator.random(n_sentences) < 1 / 32)
    document_offsets = np.unique(np.concatenate([[0], cuts, [n_sentences]]))
    starts = generator.random(n) < 1 / 1.3
    starts[sentence_offsets[:-1]] = True
    flags = np.where(starts, WORD_START, 0).astype(np.uint8)
    for mark in (PHRASE_CONT | IN_PHRASE, ENTITY_CONT | IN_ENTITY, CAPITAL | UPPER):
        flags[starts & (generator.random(n) < 0.1)] |= mark
    flags[sentence_offsets[:-1]] = WORD_START | CAPITAL | UPPER
    tokens = generator.integers(len(SPECIALS), VOCAB_SIZE, size=n).astype(np.uint16)
    language = np.full(len(document_offsets) - 1, -1, dtype=np.int16)
    vocab = Vocab([*SPECIALS, *(f"w{number}" for number in range(len(SPECIALS), VOCAB_SIZE))], "synthetic")
    shard = Shard(tokens, flags, sentence_offsets, document_offsets, language)
    write_corpus(path, {"train": [shard]}, vocab_sha256=vocab.sha256, vocab_size=VOCAB_SIZE)
    WordPieceTokenizer(vocab).save(path)


def run_reader(corpus: Path, objectives: Sequence[str], length: int, batch_tokens: int) -> RunReader:
    """The batches of an endless run with one task."""
    task = TaskData(
        task="bench",
        objectives={name: {} for name in objectives},
        corpora=[(str(corpus), 1.0)],
        max_length=length,
        batch_tokens=batch_tokens,
    )
    return RunReader(Schedule(("bench",), (Stage((100_000,)),)), {"bench": task})


def measure(reader: RunReader, workers: int, seconds: float) -> tuple[float, float]:
    """Make batches for so long, after the processes have started.

    Returns:
        Real tokens per second, [CLS] and [SEP] included, of all workers together; and the share of padding.
    """
    real = padded = 0
    with closing(prefetch(reader, range(100_000), workers)) as batches:
        for _ in range(4 * max(1, workers)):
            next(batches)
        start = time.perf_counter()
        for batch in batches:
            real += batch.real_tokens
            padded += batch.padded_tokens
            if time.perf_counter() - start > seconds:
                break
        elapsed = time.perf_counter() - start
    return real / elapsed, 1.0 - real / padded


def main(argv: list[str] | None = None) -> None:
    """Print a Markdown table: what is made, by how many workers, how fast, and the goals."""
    parser = argparse.ArgumentParser(prog="bench loader", description=main.__doc__)
    parser.add_argument("--batch_tokens", type=int, default=16384, help="token budget of a batch (default: 16384)")
    parser.add_argument("--corpus_tokens", type=int, default=4_000_000, help="size of the corpus (default: 4000000)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each measurement (default: 1)")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each, the best counts (default: 2)")
    args = parser.parse_args(argv)
    print("| objectives | length | workers | tokens/s | goal | against 1 worker | padding |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        synthetic_corpus(Path(folder), args.corpus_tokens)
        for objectives, length in CASES:
            reader = run_reader(Path(folder), objectives, length, args.batch_tokens)
            rates = dict.fromkeys(WORKERS, 0.0)
            padding = 0.0
            for _ in range(args.rounds):  # worker counts take turns, so that a busy moment does not hit one alone
                for workers in WORKERS:
                    rate, padding = measure(reader, workers, args.seconds)
                    rates[workers] = max(rates[workers], rate)
            for workers, rate in rates.items():
                goal = RATE_GOALS.get((objectives, length)) if workers == 1 else None
                columns = [
                    " + ".join(objectives),
                    str(length),
                    str(workers or "0 (in this process)"),
                    f"{rate:,.0f}",
                    f"at least {goal:,}" if goal else "",
                    f"{rate / rates[1]:.2f}" if workers else "",
                    f"{padding:.1%}",
                ]
                print(f"| {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
