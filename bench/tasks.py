"""The cost of a further objective in a training step, and of switching the task at every step.

The model is that of `bench step` (4 layers of 256, dropout, float32, AdamW); a step has 16 rows of 125 random tokens,
two to a document, the same for all tasks. Everything is measured in one process, in processor time, as ratios of
neighbouring steps, which other load on the machine affects equally; the median of many ratios is printed, with
quartiles:

* a step of mlm and one auxiliary objective against the step of mlm alone before it ("On Losses …": CMTL+);
* of two tasks with equal graphs, each with its own Programs, in the order a a b b a a b b …: a step after one of the
  other task against the next step, which follows one of its own task.

quick_thoughts makes two rows per sample, so the tokens of every step are shown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.step import BATCH, LENGTH, SPEC, WARM_UP, Side
from ernie_paddle.objectives.registry import registry
from reader.corpora.corpus import Shard, write_corpus
from reader.flags import WORD_START
from reader.prepare.statistics import make_statistics
from reader.tokenizers.vocab import SPECIALS, Vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer

AUXILIARY = "tf_idf,sentence_ordering,quick_thoughts"
GOAL, SWITCHING_GOAL = 1.15, 1.02
ALONE, TWIN = "mlm", "mlm again"
DOCUMENTS = 2 * BATCH


def random_corpus(path: Path) -> None:
    """Write documents of twice 125 tokens ([CLS] A [SEP] B [SEP] has 128), each half in sentences of 5 to 25."""
    rng = np.random.default_rng(0)
    size = LENGTH - 3
    sentences, counts = [], []
    for _ in range(DOCUMENTS):
        halves = [_sentences(rng, size) for _ in range(2)]
        sentences += halves[0] + halves[1]
        counts.append(len(halves[0]) + len(halves[1]))
    n = 2 * DOCUMENTS * size
    tokens = rng.integers(len(SPECIALS), SPEC["vocab"], n).astype(np.uint16)
    shard = Shard(
        tokens,
        np.full(n, WORD_START, np.uint8),
        np.cumsum([0, *sentences]).astype(np.int64),
        np.cumsum([0, *counts]).astype(np.int64),
        np.full(DOCUMENTS, -1, np.int16),
    )
    vocab = Vocab([*SPECIALS, *(f"w{number}" for number in range(len(SPECIALS), SPEC["vocab"]))], "random")
    write_corpus(path, {"train": [shard]}, vocab_sha256=vocab.sha256, vocab_size=SPEC["vocab"])
    WordPieceTokenizer(vocab, lowercase=True).save(path)
    make_statistics(path)


def _sentences(rng: np.random.Generator, size: int) -> list[int]:
    """Draw lengths of sentences that add up to `size` tokens."""
    ends = np.minimum(np.cumsum(rng.integers(5, 26, size)), size)
    lengths: list[int] = np.diff(ends[: 1 + int((ends < size).sum())], prepend=0).tolist()
    return lengths


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code is 0 whatever the results are."""
    parser = argparse.ArgumentParser(prog="bench tasks", description=__doc__)
    parser.add_argument("--auxiliary", default=AUXILIARY, help=f"objectives, separated by commas (default {AUXILIARY})")
    parser.add_argument("--steps", type=int, default=2, help="pairs of pairs of each task in a round (default 2)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds, in which the tasks alternate (default 8)")
    parser.add_argument("--rows", type=int, default=BATCH, help=f"rows of a step (default {BATCH})")
    parser.add_argument("--threads", type=int, default=2, help="threads (default 2)")
    options = parser.parse_args(argv)
    names = [name for name in options.auxiliary.split(",") if name]
    unknown = [name for name in names if name not in registry()]
    if unknown:
        parser.error(f"no objective is named {unknown[0]!r}")
    tasks = {ALONE: ["mlm"], TWIN: ["mlm"]} | {f"mlm + {name}": ["mlm", name] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        random_corpus(Path(folder))
        spec = json.dumps(SPEC | {"corpus": folder, "rows": options.rows, "length": LENGTH, "tasks": tasks})
        side = Side("ours", [sys.executable, "-m", "bench.task_step", spec], options.threads)
        pairs: dict[str, list[list[float]]] = {name: [] for name in tasks if name != ALONE}
        try:
            for _ in range(WARM_UP):
                tokens = side.ask(json.dumps(list(tasks)))["tokens"]
            for _ in range(options.rounds):
                for name, found in pairs.items():
                    block = [TWIN, TWIN, ALONE, ALONE] if name == TWIN else [ALONE, name] * 2
                    for _ in range(options.steps):
                        times = side.ask(json.dumps(block))["cpu_ms"]
                        found += [times[:2], times[2:]]
        finally:
            side.close()
    print("| step | tokens | against | tokens | ratio (quartiles) | shortest steps | goal |")
    print("|---|---|---|---|---|---|---|")
    for name, found in pairs.items():
        first, second = zip(*found, strict=True)
        if name == TWIN:
            title, base, goal, pair = "mlm after another task", "mlm after itself", SWITCHING_GOAL, (first, second)
        else:
            title, base, goal, pair = name, ALONE, GOAL, (second, first)
        ratios = [one / other for one, other in zip(*pair, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        shortest = " / ".join(f"{min(side):.0f}" for side in pair) + " ms"
        spread = f"{middle:.3f} ({low:.3f} to {high:.3f})"
        columns = [title, tokens[name], base, tokens[ALONE], spread, shortest, f"at most {goal}"]
        print(f"| {' | '.join(map(str, columns))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
