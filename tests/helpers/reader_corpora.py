"""Small corpora in memory, described by their sentence lengths, for the tests of sampling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reader.corpora.corpus import Corpus, Shard
from reader.flags import WORD_START

VOCAB_SIZE = 1000


def shard_of(documents: Sequence[Sequence[int]], first_token: int = 0) -> Shard:
    """A shard whose documents have sentences of these lengths; tokens count up from `first_token` (modulo 60,000)."""
    sizes = [size for document in documents for size in document]
    n = sum(sizes)
    tokens = (np.arange(first_token, first_token + n) % 60_000).astype(np.uint16)
    flags = np.full(n, WORD_START, dtype=np.uint8)
    return Shard(
        tokens,
        flags,
        np.cumsum([0, *sizes]),
        np.cumsum([0, *map(len, documents)]),
        np.arange(len(documents), dtype=np.int16) % 3 - 1,
    )


def corpus_of(*shards: Sequence[Sequence[int]]) -> Corpus:
    """A corpus of such shards; token values go on from shard to shard."""
    made = []
    first = 0
    for documents in shards:
        made.append(shard_of(documents, first))
        first += made[-1].n_tokens
    return Corpus(Path("in-memory"), "train", {"languages": ["en", "zh"], "vocab_size": VOCAB_SIZE}, made)
