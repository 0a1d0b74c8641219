"""Samples: runs of consecutive whole sentences of one document, packed up to a length, and their index over a corpus.

The index holds a start, a length and a few more numbers for each sample (28 bytes); the tokens stay in the
memory-mapped shards.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.corpora.corpus import Corpus, Shard, shard_name
from reader.errors import DataError
from reader.report import SkipReport

CUT = "sentence longer than a sample, cut into pieces"
SHORT = "sample with too few tokens, left out"
_FEW = 16  # below so many active documents, stepping through each alone is faster than array operations


@dataclass(frozen=True, slots=True)
class Sample:
    """Sample `index` of a corpus: n tokens of document `document`, without special symbols. The arrays are views."""

    index: int  # -1 for a whole document
    document: int
    start: int  # position of its first token, in tokens from the start of the document
    tokens: NDArray[Any]  # [n], uint16 or int32
    flags: NDArray[np.uint8]  # [n], bits of reader.flags
    sentence_offsets: NDArray[np.int32]  # [S+1], sentence i is tokens[offsets[i]:offsets[i+1]]
    language: int  # index into the corpus's languages, -1 where unknown


class SampleIndex:
    """All samples of a corpus, in the order of the text.

    Sentences are packed greedily: a sample takes the next sentences of its document while they fit into `max_tokens`.
    A sentence of more than `max_tokens` is cut into equal parts that fit, and each part is a sample. Samples of fewer
    than `min_tokens` are skipped. `skipped` counts the cut sentences and the skipped samples, with the first places of
    each.

    The same corpus and limits give the same samples on every machine. An index pickles as its own arrays and the path
    of its corpus, so worker processes neither pack again nor copy text.

    Raises:
        DataError: `min_tokens` is not between 1 and `max_tokens`.
    """

    def __init__(self, corpus: Corpus, max_tokens: int, min_tokens: int = 1) -> None:
        if max_tokens < 1 or not 1 <= min_tokens <= max_tokens:
            raise DataError(
                f"samples of {min_tokens} to {max_tokens} tokens are impossible: the minimum must be at least 1 and at "
                "most the maximum (check the sequence length minus its special symbols)"
            )
        self.corpus = corpus
        self.max_tokens = max_tokens
        self.min_tokens = min_tokens
        self.skipped = SkipReport()
        parts = [self._pack(shard, number) for number, shard in enumerate(corpus.shards)]
        self._shard_samples = [0, *np.cumsum([len(part.starts) for part in parts]).tolist()]
        self._shard_documents = [0, *np.cumsum([len(shard.document_offsets) - 1 for shard in corpus.shards]).tolist()]
        self._starts = _join([part.starts for part in parts], np.int64)
        self._first_sentences = _join([part.first_sentences for part in parts], np.int64)
        self._sentence_counts = _join([part.sentence_counts for part in parts], np.int32)
        self.lengths: NDArray[np.int32] = _join([part.lengths for part in parts], np.int32)
        """Tokens of each sample, int32 [len(self)]."""
        per_document = _join([part.samples_per_document for part in parts], np.int64)
        self._documents = np.repeat(np.arange(len(per_document), dtype=np.int32), per_document)
        self._document_starts = [_document_starts(shard) for shard in corpus.shards]
        self._arrays = _arrays(corpus)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def name(self) -> str:
        """Folder and split, for messages."""
        return f"{self.corpus.path} (split {self.corpus.split!r})"

    def sample(self, k: int) -> Sample:
        """Sample k, in range(len(self)); about 10 µs."""
        assert 0 <= k < len(self.lengths), f"sample {k} of {len(self.lengths)}"
        shard = bisect_right(self._shard_samples, k) - 1
        tokens, flags, sentence_offsets, languages = self._arrays[shard]
        start, length = self._starts.item(k), self.lengths.item(k)
        first, count = self._first_sentences.item(k), self._sentence_counts.item(k)
        if count:
            offsets = (sentence_offsets[first : first + count + 1] - start).astype(np.int32)
        else:
            offsets = np.array([0, length], dtype=np.int32)
        document = self._documents.item(k)
        within = document - self._shard_documents[shard]
        return Sample(
            index=k,
            document=document,
            start=start - self._document_starts[shard].item(within),
            tokens=tokens[start : start + length],
            flags=flags[start : start + length],
            sentence_offsets=offsets,
            language=languages.item(within),
        )

    def document(self, number: int) -> Sample:
        """Document `number`, in range(n_documents), as one sample; the call costs the same for any length."""
        assert 0 <= number < self.n_documents, f"document {number} of {self.n_documents}"
        shard = bisect_right(self._shard_documents, number) - 1
        tokens, flags, sentence_offsets, languages = self._arrays[shard]
        within = number - self._shard_documents[shard]
        first, last = self.corpus.shards[shard].document_offsets[within : within + 2].tolist()
        start, stop = sentence_offsets.item(first), sentence_offsets.item(last)
        return Sample(
            index=-1,
            document=number,
            start=0,
            tokens=tokens[start:stop],
            flags=flags[start:stop],
            sentence_offsets=(sentence_offsets[first : last + 1] - start).astype(np.int32),
            language=languages.item(within),
        )

    @property
    def n_documents(self) -> int:
        """Number of documents of the corpus, including documents without a sample."""
        return int(self._shard_documents[-1])

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_arrays"]  # views of the memory maps: they would be pickled as copies of the corpus
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._arrays = _arrays(self.corpus)

    def _pack(self, shard: Shard, number: int) -> _Packed:
        offsets = np.asarray(shard.sentence_offsets, dtype=np.int64)
        documents = np.asarray(shard.document_offsets, dtype=np.int64)
        sizes = np.diff(offsets)
        # Where a sample that starts with sentence s would end: after the last sentence of its document that fits.
        ends = offsets.searchsorted(offsets[:-1] + self.max_tokens, side="right") - 1
        np.minimum(ends, np.repeat(documents[1:], np.diff(documents)), out=ends)
        too_long = sizes > self.max_tokens
        ends[too_long] = np.flatnonzero(too_long) + 1  # cut below

        first = _chain(ends, documents)
        packed = ~too_long[first]
        # One sample per chain link, or as many equal pieces as a long sentence needs.
        pieces = np.where(packed, 1, -(-sizes[first] // self.max_tokens))
        link = np.repeat(np.arange(len(first)), pieces)
        piece = np.arange(len(link)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begin, size, parts = offsets[first][link], (offsets[ends[first]] - offsets[first])[link], pieces[link]
        starts = begin + size * piece // parts
        lengths = begin + size * (piece + 1) // parts - starts

        keep = lengths >= self.min_tokens
        document = documents.searchsorted(first, side="right") - 1
        self._count(CUT, shard, number, document[~packed])
        self._count(SHORT, shard, number, document[link][~keep & (lengths > 0)])
        link = link[keep]
        return _Packed(
            starts[keep],
            lengths[keep],
            first[link],
            np.where(packed, ends[first] - first, 0)[link],
            np.bincount(document[link], minlength=len(documents) - 1),
        )

    def _count(self, reason: str, shard: Shard, number: int, documents: NDArray[np.int64]) -> None:
        name = shard_name(self.corpus.split, number)
        for document in documents.tolist():
            self.skipped.add(reason, f"{name}, document {document}")


@dataclass(frozen=True)
class _Packed:
    """The samples of one shard; positions count from the shard's start."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    first_sentences: NDArray[np.int64]
    sentence_counts: NDArray[np.int64]  # 0 for a piece of a sentence
    samples_per_document: NDArray[np.int64]


def _chain(ends: NDArray[np.int64], documents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted first sentences of the packed samples: from each document's first sentence, s → ends[s] until its end."""
    found: list[NDArray[np.int64]] = []
    at, stop = documents[:-1], documents[1:]
    while at.size > _FEW:  # one step of all documents at once
        inside = at < stop
        at, stop = at[inside], stop[inside]
        found.append(at)
        at = ends[at]
    for sentence, end in zip(at.tolist(), stop.tolist(), strict=True):  # the few longest documents, one by one
        rest = []
        while sentence < end:
            rest.append(sentence)
            sentence = ends.item(sentence)
        found.append(np.array(rest, dtype=np.int64))
    return np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def _join(parts: list[NDArray[np.int64]], dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *(part.astype(dtype) for part in parts)])


def _document_starts(shard: Shard) -> NDArray[np.int64]:
    """Place of every document's first token in its shard, [D+1]."""
    return np.asarray(shard.sentence_offsets)[np.asarray(shard.document_offsets)]


def _arrays(corpus: Corpus) -> list[tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int16]]]:
    """Plain arrays over the memory maps: slicing a np.memmap costs ten times as much as slicing an array."""
    return [
        (
            np.asarray(shard.tokens),
            np.asarray(shard.flags),
            np.asarray(shard.sentence_offsets),
            np.asarray(shard.document_language),
        )
        for shard in corpus.shards
    ]
