"""Texts that fill two consecutive rows, from which the halves of a batch are made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.corpora.corpus import Corpus
from reader.corpora.samples import Sample, SampleIndex


class RowPairs:
    """A ``SampleSource`` that joins the samples of a corpus in pairs.

    A text is two consecutive samples of at most ``max_tokens`` tokens each; the samples of a document are joined from
    its first one on. A remaining sample, or one that is not directly followed by another, is a text of its own. So no
    text is lost, and every text of two samples has a sentence boundary that cuts it into two rows.

    ``lengths`` is the space of a text in a batch whose rows are padded to the longest: twice the longer row, if the
    text is cut at the boundary nearest to its middle.

    Args:
        corpus: The corpus to read.
        max_tokens: Maximum number of tokens of one row, without special symbols.
        min_tokens: Samples with fewer tokens are skipped.

    Raises:
        DataError: The lengths are impossible.
    """

    def __init__(self, corpus: Corpus, max_tokens: int, min_tokens: int = 1) -> None:
        self._samples = _ConsecutiveSamples(corpus, max_tokens, min_tokens)
        self.max_tokens = 2 * max_tokens
        self.name = self._samples.name
        self.skipped = self._samples.skipped
        self._first, self._last = self._samples.two_by_two()
        self.lengths: NDArray[np.int32] = 2 * self._samples.longer_halves(self._first, self._last)

    def __len__(self) -> int:
        return len(self.lengths)

    def sample(self, k: int) -> Sample:
        """Text ``k``, with the sentences of both samples."""
        first, last = self._first.item(k), self._last.item(k)
        start = self._samples.sample(first)
        if first == last:
            return replace(start, index=k)
        rest = self._samples.sample(last)
        offsets = np.concatenate([start.sentence_offsets, len(start.tokens) + rest.sentence_offsets[1:]])
        return replace(
            start,
            index=k,
            tokens=np.concatenate([start.tokens, rest.tokens]),
            flags=np.concatenate([start.flags, rest.flags]),
            sentence_offsets=offsets.astype(np.int32),
        )

    def document(self, number: int) -> Sample:
        """A whole document."""
        return self._samples.document(number)


class _ConsecutiveSamples(SampleIndex):
    """A sample index that knows which samples directly follow each other."""

    def two_by_two(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """First and last sample of each text, int64 [P] each."""
        ends, numbers = self._starts + self.lengths, np.arange(len(self))
        follows = (self._documents[1:] == self._documents[:-1]) & (self._starts[1:] == ends[:-1])
        follows = np.concatenate([[False], follows, [False]])[: len(self) + 1]
        run = np.maximum.accumulate(np.where(follows[:-1], 0, numbers))
        first = numbers[(numbers - run) % 2 == 0]
        return first, first + follows[first + 1]

    def longer_halves(self, first: NDArray[Any], last: NDArray[Any]) -> NDArray[np.int32]:
        """Tokens of the longer part of texts that are cut at the boundary nearest to their middle, int32 [P]."""
        begin, end = self._starts[first], self._starts[last] + self.lengths[last]
        longer = np.empty(len(first), np.int32)
        for number, shard in enumerate(self.corpus.shards):
            low, high = self._shard_samples[number : number + 2]
            boundaries = np.union1d(shard.sentence_offsets, self._starts[low:high])
            here = slice(*first.searchsorted([low, high]))
            after = boundaries.searchsorted((begin[here] + end[here]) // 2, side="right")
            cuts = [
                boundaries[np.minimum(place, len(boundaries) - 1)].clip(begin[here], end[here])
                for place in (after - 1, after)
            ]
            longer[here] = np.minimum(*(np.maximum(cut - begin[here], end[here] - cut) for cut in cuts))
        return longer
