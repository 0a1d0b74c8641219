"""Statistical n-grams by t-test (ERNIE-GEN, section 3.4, span-by-span generation).

Null hypothesis: the words of an n-gram occur together by chance, p'(w) = Π p(w_i). With p(w) = Count(w) / N and N the
number of n-grams of that order, t = (p - p') / sqrt(p (1 - p) / N). N-grams never cross lines. The n-grams with the
highest t make the span vocabulary; text is cut greedily: trigram, else bigram, else unigram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reader.units.words import member, mix, ngram_keys

_BITS = 21
MAX_WORDS = (1 << _BITS) - 1
"""Words have numbers from 0 to below this, so that the numbers of three words fit into 63 bits."""
_MAX_ENTRIES = 1 << 21


@dataclass(frozen=True)
class NgramTable:
    """N-grams of one order, best first: by t, then count (both falling), then word numbers.

    words int64 [M, order], counts int64 [M], t float64 [M]; total = occurrences of all n-grams of that order.
    """

    words: NDArray[np.int64]
    counts: NDArray[np.int64]
    t: NDArray[np.float64]
    total: int


class NgramCounter:
    """Counts unigrams, bigrams and trigrams of numbered words, batch by batch.

    Args:
        max_entries: if an order has more distinct n-grams than this, the rarest are dropped (lossy counting): first
            those seen once, then twice, and so on. Memory is bounded; counts of frequent n-grams stay almost exact.
            Single words are never dropped.
    """

    def __init__(self, max_entries: int = _MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._keys = [np.zeros(0, np.int64) for _ in range(3)]
        self._counts = [np.zeros(0, np.int64) for _ in range(3)]
        self._totals = [0, 0, 0]
        # Batches are held until there are enough of them for a merge, which sorts all entries.
        self._waiting: list[list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = [[], [], []]

    def add(self, words: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
        """Counts lines of words.

        Args:
            words: int64 [W] below `MAX_WORDS`.
            offsets: int64 [lines + 1]; line i is words offsets[i] to offsets[i+1] - 1.
        """
        for order in (1, 2, 3):
            keys = _pack(words, order)[_inside(offsets, len(words), order)]
            self._totals[order - 1] += len(keys)
            waiting = self._waiting[order - 1]
            waiting.append(np.unique(keys, return_counts=True))
            if sum(len(batch) for batch, _ in waiting) > self._max_entries // 2:
                self._merge(order - 1)

    def table(self, order: int, *, min_count: int = 1) -> NgramTable:
        """The n-grams of order 2 or 3 that were counted at least `min_count` times, with their t-statistics."""
        self._merge(0)
        self._merge(order - 1)
        keys, counts = self._keys[order - 1], self._counts[order - 1]
        kept = counts >= min_count
        keys, counts = keys[kept], counts[kept]
        words = np.stack([keys >> (_BITS * (order - 1 - i)) & MAX_WORDS for i in range(order)], axis=1)
        # Single words are never dropped, so the words of every n-gram are among them.
        single = self._counts[0][np.minimum(np.searchsorted(self._keys[0], words), max(0, len(self._keys[0]) - 1))]
        total = self._totals[order - 1]
        p = counts / max(1, total)
        chance = np.prod(single / max(1, self._totals[0]), axis=1)
        t = (p - chance) / np.sqrt(np.maximum(p * (1 - p), np.finfo(np.float64).tiny) / max(1, total))
        ranked = np.lexsort((*(words[:, i] for i in reversed(range(order))), -counts, -t))
        return NgramTable(words[ranked], counts[ranked], t[ranked], total)

    def _merge(self, level: int) -> None:
        if not self._waiting[level]:
            return
        batches = [(self._keys[level], self._counts[level]), *self._waiting[level]]
        self._waiting[level] = []
        merged, place = np.unique(np.concatenate([keys for keys, _ in batches]), return_inverse=True)
        sums = np.zeros(len(merged), np.int64)
        np.add.at(sums, place, np.concatenate([counts for _, counts in batches]))
        threshold = 1
        # There are at most MAX_WORDS single words, so all of them are kept.
        while level and len(merged) > self._max_entries:
            kept = sums > threshold
            merged, sums = merged[kept], sums[kept]
            threshold += 1
        self._keys[level], self._counts[level] = merged, sums


def span_keys(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sorted keys uint64 [M], which `greedy_spans` looks up, of M n-grams given as [M, order] word keys."""
    keys = np.zeros(len(words), np.uint64)
    for place in range(words.shape[1]):
        keys = mix(keys) + words[:, place]
    return np.unique(keys)


def greedy_spans(
    keys: NDArray[np.uint64], offsets: NDArray[np.int64], bigrams: NDArray[np.uint64], trigrams: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cuts lines of words into known trigrams, else known bigrams, else single words, from left to right.

    Args:
        keys: uint64 [W] word keys; offsets: int64 [lines + 1].
        bigrams, trigrams: from `span_keys`.

    Returns:
        First word and length (2 or 3) of each span of more than one word, int64 each.
    """
    step = np.ones(len(keys), np.int64)
    for order, table in ((2, bigrams), (3, trigrams)):
        found = member(ngram_keys(keys, order), table) & _inside(offsets, len(keys), order)
        step[: len(found)][found] = order
    candidates = np.flatnonzero(step > 1)
    chosen = []
    free = 0
    # The choice of a span depends on those before it, so this is a loop, but over the candidates only.
    for place, (begin, length) in enumerate(zip(candidates.tolist(), step[candidates].tolist(), strict=True)):
        if begin >= free:
            chosen.append(place)
            free = begin + length
    begins = candidates[np.array(chosen, dtype=np.int64)]
    return begins, step[begins]


def _pack(words: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    length = max(0, len(words) - order + 1)
    keys = np.zeros(length, np.int64)
    for place in range(order):
        keys = keys << _BITS | words[place : place + length]
    return keys


def _inside(offsets: NDArray[np.int64], n_words: int, order: int) -> NDArray[np.bool_]:
    """bool [n_words - order + 1]: the n-gram that begins here ends in the same line."""
    line = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    length = max(0, n_words - order + 1)
    same: NDArray[np.bool_] = line[:length] == line[order - 1 : order - 1 + length]
    return same
