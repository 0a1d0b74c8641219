"""Words as units above tokens: the positions of words in a batch of sentences, and a key for each distinct word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reader import flags as F
from reader.tokenizers.base import TokenBatch


@dataclass(frozen=True)
class SentenceWords:
    """S sentences with N tokens in W words.

    ids int32 [N], flags uint8 [N], sentence_tokens int64 [S+1] as in `TokenBatch`; texts: the S sentences.
    """

    ids: NDArray[np.int32]
    flags: NDArray[np.uint8]
    sentence_tokens: NDArray[np.int64]
    texts: Sequence[str]

    @classmethod
    def of(cls, batch: TokenBatch, texts: Sequence[str]) -> SentenceWords:
        """The words of the tokens that a tokenizer returned for `texts`."""
        return cls(batch.ids, batch.flags, batch.offsets, texts)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """int64 [W]: first token of each word."""
        return np.flatnonzero(self.flags & F.WORD_START)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """int64 [W]: number of tokens of each word."""
        return np.diff(self.starts, append=len(self.ids))

    @cached_property
    def sentence_words(self) -> NDArray[np.int64]:
        """int64 [S+1]: sentence s has the words sentence_words[s] to sentence_words[s+1] - 1."""
        return np.searchsorted(self.starts, self.sentence_tokens)

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """uint64 [W]: a hash of each word's token ids; equal words have equal keys."""
        if not len(self.starts):
            return np.zeros(0, np.uint64)
        return _hash_runs(self.ids, self.starts, self.lengths)

    @cached_property
    def capital(self) -> NDArray[np.bool_]:
        """bool [W]: whether each word begins with a capital letter."""
        capital: NDArray[np.bool_] = (self.flags[self.starts] & F.CAPITAL) != 0
        return capital

    def pieces(self, word: int) -> list[int]:
        """Token ids of one word."""
        begin = int(self.starts[word])
        return [int(i) for i in self.ids[begin : begin + int(self.lengths[word])]]


def word_keys(words: Sequence[Sequence[int]]) -> NDArray[np.uint64]:
    """uint64 [W]: the keys (as in `SentenceWords.keys`) of words given by their token ids, at least one id each."""
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    ids = np.array([i for word in words for i in word], dtype=np.int32)
    return _hash_runs(ids, np.cumsum(lengths) - lengths, lengths) if len(words) else np.zeros(0, np.uint64)


def _hash_runs(ids: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    place = np.arange(len(ids)) - np.repeat(starts, lengths)
    mixed = mix(ids.astype(np.uint64) + (place.astype(np.uint64) << np.uint64(32)))
    keys: NDArray[np.uint64] = np.add.reduceat(mixed, starts)
    return keys


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A 64-bit hash of each entry (the finaliser of splitmix64); one-to-one."""
    x: NDArray[np.uint64] = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def ngram_keys(keys: NDArray[np.uint64], order: int) -> NDArray[np.uint64]:
    """uint64 [W - order + 1]: a hash of each run of `order` consecutive entries, also across ends of lines."""
    length = max(0, len(keys) - order + 1)
    result = np.zeros(length, np.uint64)
    for place in range(order):
        result = mix(result) + keys[place : place + length]
    return result


def member(keys: NDArray[np.uint64], table: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """bool [W]: whether the sorted `table` holds each key."""
    if not len(table):
        return np.zeros(len(keys), np.bool_)
    place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    found: NDArray[np.bool_] = table[place] == keys
    return found
