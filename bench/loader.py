"""Speed of making training batches, in real tokens per second, with the production code of `ernie pretrain`.

The measurement covers the whole work of a step: choosing samples, reading them from memory-mapped shards, arranging,
padding, labelling and masking, and the transfer from a worker process to this one. Run it with `python -m bench
loader`; the corpus is synthetic, in a temporary directory. The line of all seven objectives of ERNIE 2.0 is a run of
the four tasks that they need, one drawn at every step: token-level objectives share the rows of each arranging
objective.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernie_paddle.pretraining.batches.step_data import RunReader, TaskData
from ernie_paddle.pretraining.schedule.stage_tables import multi_task
from reader.corpora.corpus import PAIRS, Shard, shard_metadata, shard_name, write_corpus, write_corpus_info
from reader.files.tensorfile import write_arrays
from reader.flags import CAPITAL, ENTITY_CONT, IN_ENTITY, IN_PHRASE, PHRASE_CONT, UPPER, WORD_START
from reader.tokenizers.vocab import SPECIALS, Vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer
from reader.workers.prefetch import prefetch

VOCAB_SIZE = 30522
DOCUMENTS, DISCOURSE, QUERIES = "documents", "discourse", "queries"  # corpora


@dataclass(frozen=True)
class Case:
    """A measured case: a run of these tasks, each with its objectives, corpus and length of rows."""

    name: str
    tasks: Mapping[str, tuple[Sequence[str], str, int]]
    goal: int | None = None  # tokens per second of one worker


MASKING = ("knowledge_masking",)
THREE = ("knowledge_masking", "capitalization", "sentence_reordering")
WORDS = ("knowledge_masking", "capitalization", "token_document")
SEVEN = {
    "reordering": ((*WORDS, "sentence_reordering"), DOCUMENTS, 512),
    "distance": ((*WORDS, "sentence_distance"), DOCUMENTS, 512),
    "discourse": ((*WORDS[:2], "discourse_relation"), DISCOURSE, 128),
    "relevance": ((*WORDS[:2], "ir_relevance"), QUERIES, 128),
}
CASES = (
    Case("knowledge_masking, length 512", {"masking": (MASKING, DOCUMENTS, 512)}, goal=1_000_000),
    Case("knowledge_masking, length 128", {"masking": (MASKING, DOCUMENTS, 128)}),
    Case(f"{' + '.join(THREE)}, length 512", {"three": (THREE, DOCUMENTS, 512)}),
    Case("all seven of ERNIE 2.0, in four tasks", SEVEN, goal=300_000),
)
WORKERS = (0, 1, 2)


def synthetic_corpus(path: Path, n_tokens: int, seed: int = 0) -> None:
    """Documents of about 800 tokens, sentences of 5 to 45, words of 1 to 4 pieces (1.3 on average), one shard.

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
    vocab = synthetic_vocab()
    shard = Shard(tokens, flags, sentence_offsets, document_offsets, language)
    write_corpus(path, {"train": [shard]}, vocab_sha256=vocab.sha256, vocab_size=VOCAB_SIZE)
    WordPieceTokenizer(vocab).save(path)


def synthetic_pairs(path: Path, labels: Sequence[str], longest: tuple[int, int], n_pairs: int) -> None:
    """Labelled pairs of texts with uniform lengths from 3 to `longest` tokens; every token is a word."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(3, np.array(longest) + 1, size=(n_pairs, 2)).reshape(-1)
    n = int(sizes.sum())
    arrays = {
        "text_offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "labels": generator.integers(len(labels), size=n_pairs, dtype=np.int32),
        "tokens": generator.integers(len(SPECIALS), VOCAB_SIZE, size=n, dtype=np.uint16),
        "flags": np.full(n, WORD_START, dtype=np.uint8),
    }
    vocab = synthetic_vocab()
    path.mkdir()
    write_arrays(path / shard_name("train", 0), arrays, shard_metadata("train", vocab.sha256, VOCAB_SIZE))
    counts = {"n_documents": n_pairs, "n_sentences": 2 * n_pairs, "n_tokens": n}
    write_corpus_info(
        path,
        vocab_sha256=vocab.sha256,
        vocab_size=VOCAB_SIZE,
        splits={"train": {"shards": [shard_name("train", 0)], **counts}},
        kind=PAIRS,
        labels=list(labels),
    )
    WordPieceTokenizer(vocab).save(path)


def synthetic_vocab() -> Vocab:
    """A vocabulary of meaningless pieces."""
    return Vocab([*SPECIALS, *(f"w{number}" for number in range(len(SPECIALS), VOCAB_SIZE))], "synthetic")


def corpora(folder: Path, n_tokens: int) -> None:
    """Make all corpora of the cases."""
    synthetic_corpus(folder / DOCUMENTS, n_tokens)
    synthetic_pairs(folder / DISCOURSE, [f"marker {number}" for number in range(174)], (40, 40), n_tokens // 100)
    synthetic_pairs(folder / QUERIES, ("strong", "weak"), (12, 30), n_tokens // 100)


def run_reader(folder: Path, case: Case, batch_tokens: int) -> RunReader:
    """The batches of an endless run in which all tasks are equally frequent."""
    tasks = {
        name: TaskData(
            task=name,
            objectives={objective: {} for objective in objectives},
            corpora=[(str(folder / corpus), 1.0)],
            max_length=length,
            batch_tokens=batch_tokens,
        )
        for name, (objectives, corpus, length) in case.tasks.items()
    }
    return RunReader(multi_task(list(tasks), steps_per_task=100_000), tasks)


def measure(reader: RunReader, workers: int, seconds: float) -> tuple[float, float]:
    """Make batches for this time, after the processes have started.

    Returns:
        Real tokens per second, including [CLS] and [SEP], of all workers together; and the share of padding.
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
    """Print a Markdown table of objectives, workers, speed and goals."""
    parser = argparse.ArgumentParser(prog="bench loader", description=main.__doc__)
    parser.add_argument("--batch_tokens", type=int, default=16384, help="token budget of a batch (default: 16384)")
    parser.add_argument("--corpus_tokens", type=int, default=4_000_000, help="size of the corpus (default: 4000000)")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds per measurement (default: 1)")
    parser.add_argument(
        "--rounds", type=int, default=2, help="measurements of each case, of which the best counts (default: 2)"
    )
    args = parser.parse_args(argv)
    print("| objectives | workers | tokens/s | goal | against 1 worker | padding |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        corpora(Path(folder), args.corpus_tokens)
        for case in CASES:
            reader = run_reader(Path(folder), case, args.batch_tokens)
            rates = dict.fromkeys(WORKERS, 0.0)
            padding = 0.0
            for _ in range(args.rounds):  # worker counts take turns, so that a busy moment does not affect only one
                for workers in WORKERS:
                    rate, padding = measure(reader, workers, args.seconds)
                    rates[workers] = max(rates[workers], rate)
            for workers, rate in rates.items():
                goal = case.goal if workers == 1 else None
                columns = [
                    case.name,
                    str(workers or "0 (in this process)"),
                    f"{rate:,.0f}",
                    f"at least {goal:,}" if goal else "",
                    f"{rate / rates[1]:.2f}" if workers else "",
                    f"{padding:.1%}",
                ]
                print(f"| {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
