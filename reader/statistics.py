"""Statistics of a prepared corpus that a model's loss can be held against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reader.corpus import Corpus


def unigram_counts(corpus: Corpus, vocab_size: int) -> NDArray[np.int64]:
    """How often each token id occurs in the corpus, int64 [vocab_size]."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for shard in corpus.shards:
        counts += np.bincount(shard.tokens, minlength=vocab_size)
    return counts


def entropy(counts: NDArray[np.int64]) -> float:
    """Entropy in nats of the distribution that ``counts`` are proportional to; 0 for no counts.

    It is the lowest loss per token that a model can have which ignores the context.
    """
    total = counts.sum()
    if total == 0:
        return 0.0
    shares = counts[counts > 0] / total
    return float(-(shares * np.log(shares)).sum())
