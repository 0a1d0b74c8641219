"""Counts of the tokens of a batch in their documents, from which token_document, tf and tf_idf make their labels.

Everything is read from the shards, by the document of each token (``Batch.documents``); only the documents of the batch
are scanned. Counts of long documents are cached for their next row.

Shapes: N tokens of the batch, G segments of its rows, K documents, U distinct tokens of all documents, one document
after the other.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.objectives.rows import Batch, Data

Ints = NDArray[np.int64]

_LONG = 4096  # a document of so many tokens is faster to count by table than by sorting, and worth caching
_KEPT = 1 << 21  # limit of distinct tokens of cached documents: 16 MB
_HALF = 32  # bits of each number in a key made of two
_LOW = (1 << _HALF) - 1


@dataclass(frozen=True)
class Occurrences:
    """The tokens of a batch that belong to a document, and their counts.

    A segment is all tokens of one row that come from one document: a row may hold texts of two documents.

    Attributes:
        places: int64 [N], flat positions b·T + t, ascending.
        segments: int64 [N], number of each token's segment.
        in_segment: int64 [N], count of the token in its segment (before any replacement there).
        entries: int64 [N], index of the token among the U; -1 if it is not in its document (it was replaced).
        tokens, counts: int64 [U], the distinct tokens of the documents, and their counts there.
        bounds: int64 [K+1], document k is tokens[bounds[k] : bounds[k+1]].
        corpora: int64 [K], the documents' corpora.
    """

    places: Ints
    segments: Ints
    in_segment: Ints
    entries: Ints
    tokens: Ints
    counts: Ints
    bounds: Ints
    corpora: Ints

    def of_entries(self, values: NDArray[Any]) -> NDArray[Any]:
        """The entry of ``values`` [U] for each token [N]; 0 for a token that is not in its document."""
        return np.where(self.entries >= 0, values[self.entries], 0)

    @property
    def outside(self) -> Ints:
        """int64 [N], count of the token in its document outside its segment."""
        # The difference is negative if an objective arranged the row with a token that is not in the document.
        return np.maximum(self.of_entries(self.counts) - self.in_segment, 0)


class DocumentCounts:
    """Counts the tokens of documents, batch by batch."""

    def __init__(self, data: Data) -> None:
        self._sources = data.sources
        self._bits = max(1, (data.vocab.size - 1).bit_length())
        self._size = data.vocab.size
        self._kept: OrderedDict[int, tuple[Ints, Ints]] = OrderedDict()
        self._n_kept = 0

    def look_up(self, batch: Batch) -> Occurrences:
        """Look up the tokens of ``batch.original`` in their documents."""
        corpus_of_row = np.array([row.corpus for row in batch.rows], np.int64)
        lengths = [len(example.ids) for example in batch.examples]
        # Use the rows as arranged, because an objective may have replaced tokens since.
        rows = np.repeat(np.arange(len(lengths)), lengths)
        ids = np.concatenate([example.ids for example in batch.examples]).astype(np.int64)
        documents = np.concatenate([example.documents for example in batch.examples])
        inside = np.flatnonzero(documents >= 0)
        arranged = rows[inside] << _HALF | documents[inside]
        segments = _distinct(arranged)
        corpus = corpus_of_row[segments >> _HALF]
        wanted, document_of_segment = np.unique(corpus << _HALF | segments & _LOW, return_inverse=True)
        order, keys, counts = self._count(wanted)

        places = np.flatnonzero(batch.documents.reshape(-1) >= 0)
        length = batch.ids.shape[1]
        mine = segments.searchsorted(places // length << _HALF | batch.documents.reshape(-1)[places])
        tokens = batch.original.reshape(-1)[places]
        there, n_there = _counted(segments.searchsorted(arranged) << self._bits | ids[inside])
        in_segment = _find(there, mine << self._bits | tokens)
        entries = _find(keys, order[document_of_segment][mine] << self._bits | tokens)
        corpora = np.empty_like(wanted)
        corpora[order] = wanted >> _HALF
        return Occurrences(
            places=places,
            segments=mine,
            in_segment=np.where(in_segment >= 0, n_there[in_segment], 0),
            entries=entries,
            tokens=keys & ((1 << self._bits) - 1),
            counts=counts,
            bounds=keys.searchsorted(np.arange(len(wanted) + 1) << self._bits),
            corpora=corpora,
        )

    def _count(self, wanted: Ints) -> tuple[Ints, Ints, Ints]:
        """Count the tokens of documents.

        Args:
            wanted: int64 [K], corpus << 32 | document.

        Returns:
            A number [K] for each document, and for all documents number << bits | token [U], ascending, and counts [U].
        """
        texts = [self._sources[name >> _HALF].document(name & _LOW).tokens for name in wanted.tolist()]
        lengths = np.array([len(text) for text in texts])
        ranked = np.argsort(lengths >= _LONG, kind="stable")
        order = np.empty_like(ranked)
        order[ranked] = np.arange(len(ranked))
        n_short = int((lengths < _LONG).sum())
        keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        if n_short:
            short = ranked[:n_short]
            joined = np.concatenate([texts[k] for k in short.tolist()])
            found = _counted(np.repeat(np.arange(n_short) << self._bits, lengths[short]) | joined)
            keys.append(found[0])
            counts.append(found[1])
        for number, k in enumerate(ranked[n_short:].tolist(), n_short):
            tokens, count = self._count_long(int(wanted[k]), texts[k])
            keys.append(number << self._bits | tokens)
            counts.append(count)
        return order, np.concatenate(keys), np.concatenate(counts)

    def _count_long(self, name: int, text: NDArray[Any]) -> tuple[Ints, Ints]:
        """Distinct tokens of one document, ascending, and their counts; cached until other documents need the room."""
        found = self._kept.get(name)
        if found is None:
            table = np.bincount(text, minlength=self._size)
            tokens = np.flatnonzero(table)
            found = tokens, table[tokens]
            self._kept[name] = found
            self._n_kept += len(tokens)
            while self._n_kept > _KEPT and len(self._kept) > 1:
                self._n_kept -= len(self._kept.popitem(last=False)[1][0])
        self._kept.move_to_end(name)
        return found


def rescale(values: NDArray[Any], bounds: Ints) -> NDArray[np.float64]:
    """Stretch each group values[bounds[k] : bounds[k+1]] (none is empty) so that it reaches from 0 to 10.

    0 everywhere in a group whose values are all equal ("On Losses ...", 3.2: "re-scaled between 0 and 10").
    """
    if not len(values):
        return np.zeros(0)
    starts, sizes = bounds[:-1], np.diff(bounds)
    low = np.minimum.reduceat(values, starts)
    spread = np.maximum.reduceat(values, starts) - low
    factor = np.divide(10.0, spread, out=np.zeros(len(spread)), where=spread > 0)
    rescaled: NDArray[np.float64] = (values - np.repeat(low, sizes)) * np.repeat(factor, sizes)
    return rescaled


def _counted(keys: Ints) -> tuple[Ints, Ints]:
    """Distinct keys, ascending, and how often each occurs."""
    keys = np.sort(keys)
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[first], np.diff(first, append=len(keys))


def _distinct(keys: Ints) -> Ints:
    """Distinct keys, ascending; fast if equal keys are adjacent."""
    return np.unique(keys[np.diff(keys, prepend=-1) != 0])


def _find(keys: Ints, wanted: Ints) -> Ints:
    """The index of each wanted key in the ascending ``keys``; -1 if it is missing."""
    at = np.minimum(keys.searchsorted(wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)
