"""Limits of the size of documents: small documents are skipped, long documents are cut ("On Losses", section 3.5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reader.text.documents import Document

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_CHINESE}]|[^\s{_CHINESE}]+")


@dataclass(frozen=True)
class DocumentLimits:
    """The limits of the size of documents; None is no limit.

    `tokens`: documents of more tokens are cut, see `cut_documents`. `min_words` and `min_sentences`: documents of fewer
    words or sentences are skipped. Words are separated by white space; a Chinese character is a word.
    """

    tokens: int | None = None
    min_words: int | None = None
    min_sentences: int | None = None

    def too_small(self, document: Document) -> str | None:
        """The reason why a document is skipped; None if it is not."""
        if self.min_words is not None and not _has_words(document.sentences, self.min_words):
            return f"document of fewer than {self.min_words:,} words"
        if self.min_sentences is not None and len(document.sentences) < self.min_sentences:
            return f"document of fewer than {self.min_sentences:,} sentences"
        return None


def _has_words(sentences: Sequence[str], least: int) -> bool:
    words = (word for sentence in sentences for word in _WORD.finditer(sentence))
    return sum(1 for _ in islice(words, least)) == least


def cut_documents(
    lengths: NDArray[np.int64], sizes: NDArray[np.int64], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cuts long documents between sentences into the fewest pieces that have at most `limit` tokens on average.

    The pieces of a document are about equally long, so that no short piece is left at its end: a sentence goes to the
    piece in whose share of the tokens it begins. A piece exceeds `limit` by less than its last sentence.

    Args:
        lengths: int64 [S], tokens of the sentences, in the order of the documents.
        sizes: int64 [D], sentences of each document, at least one.
        limit: number of tokens up to which a document stays whole.

    Returns:
        int64 [P], sentences of each piece; int64 [P], the number of its document.
    """
    document = np.repeat(np.arange(len(sizes)), sizes)
    totals = np.bincount(document, weights=lengths, minlength=len(sizes)).astype(np.int64)
    ends = np.cumsum(totals)
    before = np.cumsum(lengths) - lengths - (ends - totals)[document]
    pieces = np.maximum(1, -(-totals // limit))
    piece = np.minimum(before * pieces[document] // np.maximum(1, totals)[document], pieces[document] - 1)
    first = np.ones(len(lengths), dtype=np.bool_)
    first[1:] = (np.diff(document) != 0) | (np.diff(piece) != 0)
    starts = np.flatnonzero(first)
    return np.diff(starts, append=len(lengths)), document[starts]
