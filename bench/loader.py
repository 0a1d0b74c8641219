"""How fast the loader makes batches for whole-word masked language modelling, in real tokens per second.

Everything from the memory-mapped shard to the arrays to feed is in it: which samples, reading them, [CLS] … [SEP],
padding, masking. Run it with `python -m bench.loader`; the corpus is synthetic and lives in a temporary directory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.batching import PaddingCount, padded_length, stack
from reader.corpus import Corpus, Shard, write_corpus
from reader.flags import CAPITAL, WORD_START
from reader.masking import MaskingRule, batch_unit_starts, mask_batch
from reader.plan import BatchPlan
from reader.prefetch import prefetch
from reader.random import key
from reader.samples import SampleIndex

VOCAB_SIZE = 30522
PAD, UNK, CLS, SEP, MASK = 0, 100, 101, 102, 103


@dataclass
class MlmBatches:
    """Batch n of whole-word masked language modelling over a plan with overhead 2."""

    plan: BatchPlan
    rule: MaskingRule

    def __call__(self, n: int) -> dict[str, NDArray[Any]]:
        rows = self.plan.batch(n)
        triples = zip(rows.corpus.tolist(), rows.sample.tolist(), strict=True)
        samples = [self.plan.indexes[c].sample(k) for c, k in triples]
        lengths = np.array([len(sample.tokens) + 2 for sample in samples])
        length = padded_length(int(lengths.max()), 8, rows.max_tokens)
        ids = stack([sample.tokens for sample in samples], PAD, np.int64, length, start=1)
        ids[:, 0] = CLS
        ids[np.arange(len(ids)), lengths - 1] = SEP
        flags = stack([sample.flags for sample in samples], 0, np.uint8, length, start=1)
        places = np.arange(length)
        maskable = (places > 0) & (places < lengths[:, None] - 1)
        keys = key(self.plan.seed, "mlm", rows.epoch, rows.corpus, rows.sample)
        masked = mask_batch(ids, batch_unit_starts(flags, keys, self.rule), maskable, keys, self.rule)
        return {
            "input_ids": masked.ids,
            "segment_ids": np.zeros_like(ids),
            "position_ids": np.broadcast_to(places, ids.shape).copy(),
            "attention_mask": (places < lengths[:, None]).astype(np.int64),
            "mask_positions": masked.positions,
            "mask_labels": masked.labels,
        }


def synthetic_corpus(path: Path, n_tokens: int, seed: int = 0) -> Corpus:
    """Documents of about 800 tokens, sentences of 5 to 45, words of 1 to 4 pieces (1.3 in the mean), one shard."""
    generator = np.random.default_rng(seed)
    sentences = generator.integers(5, 46, size=n_tokens // 25)
    sentence_offsets = np.concatenate([[0], np.cumsum(sentences)])
    n = int(sentence_offsets[-1])
    n_sentences = len(sentences)
    cuts = np.flatnonzero(generator.random(n_sentences) < 1 / 32)
    document_offsets = np.unique(np.concatenate([[0], cuts, [n_sentences]]))
    flags = np.where(generator.random(n) < 1 / 1.3, WORD_START, 0).astype(np.uint8)
    flags[sentence_offsets[:-1]] = WORD_START | CAPITAL
    tokens = generator.integers(1000, VOCAB_SIZE, size=n).astype(np.uint16)
    language = np.full(len(document_offsets) - 1, -1, dtype=np.int16)
    shard = Shard(tokens, flags, sentence_offsets, document_offsets, language)
    write_corpus(path, {"train": [shard]}, vocab_sha256="synthetic", vocab_size=VOCAB_SIZE)
    return Corpus.open(path)


@dataclass(frozen=True)
class Measurement:
    """One line of the table."""

    length: int
    workers: int
    seconds: float
    tokens: int
    padding: float

    @property
    def rate(self) -> float:
        """Real tokens per second, all workers together."""
        return self.tokens / self.seconds


def measure(corpus: Corpus, length: int, batch_tokens: int, workers: int, seconds: float) -> Measurement:
    """Make batches for so long, after the processes have started; tokens are real ones, special symbols not counted."""
    plan = BatchPlan([SampleIndex(corpus, length - 2)], batch_tokens=batch_tokens, overhead=2)
    make = MlmBatches(plan, MaskingRule(VOCAB_SIZE, MASK, (PAD, UNK, CLS, SEP, MASK)))
    count = PaddingCount()
    rows = 0
    with closing(prefetch(make, range(10**9), workers)) as batches:
        for _ in range(4 * max(1, workers)):
            next(batches)
        start = time.perf_counter()
        for batch in batches:
            count.add(int(batch["attention_mask"].sum()), batch["attention_mask"].size)
            rows += len(batch["input_ids"])
            if time.perf_counter() - start > seconds:
                break
        elapsed = time.perf_counter() - start
    return Measurement(length, workers, elapsed, count.real - 2 * rows, count.ratio)


def main(argv: list[str] | None = None) -> None:
    """Print a Markdown table of lengths and workers."""
    parser = argparse.ArgumentParser(prog="bench.loader", description=main.__doc__)
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[512, 128], help="sequence lengths (default: 512 128)"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="worker processes (default: 0 1 2)")
    parser.add_argument("--batch_tokens", type=int, default=16384, help="token budget of a batch (default: 16384)")
    parser.add_argument("--corpus_tokens", type=int, default=4_000_000, help="size of the corpus (default: 4000000)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each measurement (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, the best counts (default: 3)")
    args = parser.parse_args(argv)
    print("| length | workers | tokens/s | tokens/s per worker | against 1 worker | padding |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        corpus = synthetic_corpus(Path(folder), args.corpus_tokens)
        for length in args.lengths:
            best: dict[int, Measurement] = {}
            for _ in range(args.rounds):  # worker counts take turns, so that a busy moment does not hit one alone
                for workers in args.workers:
                    one = measure(corpus, length, args.batch_tokens, workers, args.seconds)
                    if workers not in best or one.rate > best[workers].rate:
                        best[workers] = one
            for workers, one in best.items():
                ratio = f"{one.rate / best[1].rate:.2f}" if workers and 1 in best else ""
                name = workers or "0 (in this process)"
                each = one.rate / max(1, workers)
                print(
                    f"| {length} | {name} | {one.rate:,.0f} | {each:,.0f} | {ratio} | {one.padding:.1%} |", flush=True
                )


if __name__ == "__main__":
    main()
