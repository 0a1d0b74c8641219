"""Which documents are too small, and where long ones are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.text.document_limits import DocumentLimits, cut_documents
from reader.text.documents import Document


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), max_size=5), st.integers(1, 40))
def test_long_documents_are_cut_into_even_pieces(documents: list[list[int]], limit: int) -> None:
    lengths = np.array([length for document in documents for length in document], dtype=np.int64)
    sizes, owners = cut_documents(lengths, np.array([len(document) for document in documents], np.int64), limit)
    assert sizes.min(initial=1) >= 1
    rest = lengths.tolist()
    pieces: dict[int, list[list[int]]] = {number: [] for number in range(len(documents))}
    for size, owner in zip(sizes.tolist(), owners.tolist(), strict=True):
        pieces[owner].append(rest[:size])
        del rest[:size]
    for number, document in enumerate(documents):
        assert [length for piece in pieces[number] for length in piece] == document
        assert len(pieces[number]) <= max(1, -(-sum(document) // limit))
        assert sum(document) > limit or len(pieces[number]) == 1
        for piece in pieces[number]:
            longest_end = max(i for i in range(len(piece)) if piece[i] or i == 0)
            assert sum(piece[:longest_end]) < limit


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(1, 20))
def test_pieces_of_short_sentences_differ_by_one(sizes: list[int], limit: int) -> None:
    """Sentences of one token: as even as they can be, and not one piece more than needed."""
    found, owners = cut_documents(np.ones(sum(sizes), np.int64), np.array(sizes, np.int64), limit)
    for number, size in enumerate(sizes):
        pieces = found[owners == number]
        assert len(pieces) == -(-size // limit)
        assert pieces.max() - pieces.min() <= 1


@pytest.mark.parametrize(
    ("sentences", "limits", "reason"),
    [
        (["One two three.", "Four five."], DocumentLimits(min_words=5), None),
        (["One two three.", "Four five."], DocumentLimits(min_words=6), "document of fewer than 6 words"),
        (["没有空格。"], DocumentLimits(min_words=5), None),
        (["没有空格"], DocumentLimits(min_words=5), "document of fewer than 5 words"),
        (["a", "b"], DocumentLimits(min_sentences=2), None),
        (["a", "b"], DocumentLimits(min_sentences=3), "document of fewer than 3 sentences"),
        (["a"], DocumentLimits(min_words=2, min_sentences=2), "document of fewer than 2 words"),
        (["a"], DocumentLimits(tokens=1), None),
    ],
)
def test_small_documents(sentences: list[str], limits: DocumentLimits, reason: str | None) -> None:
    assert limits.too_small(Document(sentences, None, "a.txt:1", 1)) == reason
