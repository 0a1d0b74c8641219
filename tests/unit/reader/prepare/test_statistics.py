"""Statistics of a corpus against counting document by document, and what is said where they are missing or stale."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reader.prepare.statistics
from helpers.reader_corpora import VOCAB_SIZE
from reader.corpora.corpus import Shard, write_corpus
from reader.errors import DataError
from reader.flags import ENTITY_CONT, IN_ENTITY, IN_PHRASE, PHRASE_CONT, WORD_START
from reader.prepare.statistics import LONGEST_SPAN, STATISTICS_FILE, count_statistics, make_statistics, read_statistics

Text = list[list[list[int]]]
"""Tokens of each sentence of each document."""

texts = st.lists(st.lists(st.lists(st.integers(5, 14), min_size=1, max_size=6), min_size=1, max_size=4), min_size=1)


def _shard(text: Text, flags: list[int] | None = None) -> Shard:
    sentences = [s for d in text for s in d]
    tokens = [t for s in sentences for t in s]
    return Shard(
        np.array(tokens, np.uint16),
        np.array(flags or [WORD_START] * len(tokens), np.uint8),
        np.cumsum([0, *map(len, sentences)]).astype(np.int64),
        np.cumsum([0, *map(len, text)]).astype(np.int64),
        np.full(len(text), -1, np.int16),
    )


def _write(path: Path, *shards: Text, vocab_sha256: str = "some") -> Path:
    made = [_shard(text) for text in shards]
    write_corpus(path, {"train": made, "heldout": made[:1]}, vocab_sha256=vocab_sha256, vocab_size=VOCAB_SIZE)
    return path


@settings(max_examples=40, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), st.integers(1, 40))
def test_counts_and_document_frequencies(tmp_path_factory: pytest.TempPathFactory, shards: list[Text], at: int) -> None:
    """However many tokens are counted at once, documents longer than that included."""
    path = _write(tmp_path_factory.mktemp("corpus"), *shards)
    documents = [[t for s in d for t in s] for text in shards for d in text]
    counts = Counter(t for d in documents for t in d)
    frequency = Counter(t for d in documents for t in set(d))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader.prepare.statistics, "_AT_ONCE", at)
        found = count_statistics(path)
    assert found.n_documents == len(documents)
    assert found.counts.tolist() == [counts[i] for i in range(VOCAB_SIZE)]
    assert found.document_frequency.tolist() == [frequency[i] for i in range(VOCAB_SIZE)]
    for i in (5, 9, 999):
        assert found.idf()[i] == pytest.approx(math.log(len(documents) / max(1, frequency[i])), abs=1e-12)


def test_lengths_of_phrases_and_entities(tmp_path: Path) -> None:
    """Phrases of 3 and 2 tokens, the second up to the end of its sentence; an entity of one, one of 20."""
    n = 30
    flags = [WORD_START] * n
    flags[2:5] = [WORD_START | IN_PHRASE, IN_PHRASE, WORD_START | PHRASE_CONT | IN_PHRASE]
    flags[8:10] = [WORD_START | IN_PHRASE, WORD_START | PHRASE_CONT | IN_PHRASE]
    flags[1] |= IN_ENTITY
    flags[10:30] = [WORD_START | IN_ENTITY, *[WORD_START | ENTITY_CONT | IN_ENTITY] * 19]
    shard = _shard([[list(range(10)), list(range(20))]], flags)
    write_corpus(tmp_path, {"train": [shard]}, vocab_sha256="some", vocab_size=VOCAB_SIZE)
    found = count_statistics(tmp_path)
    assert {k: n for k, n in enumerate(found.phrase_lengths.tolist()) if n} == {2: 1, 3: 1}
    assert {k: n for k, n in enumerate(found.entity_lengths.tolist()) if n} == {1: 1, LONGEST_SPAN: 1}


def test_processes_count_the_same(tmp_path: Path) -> None:
    path = _write(tmp_path, [[[5, 6], [6]], [[5]]], [[[7, 5]]], [[[9]]])
    alone, together = count_statistics(path), count_statistics(path, workers=2)
    for name in ("counts", "document_frequency", "phrase_lengths"):
        assert np.array_equal(getattr(alone, name), getattr(together, name))


def test_statistics_are_kept_and_stale_ones_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "corpus", [[[5, 6], [6]], [[5]]])
    with pytest.raises(
        DataError, match=r"has no statistics of its documents yet: make them with `ernie stats .*corpus`"
    ):
        read_statistics(path)
    make_statistics(path)
    assert read_statistics(path).document_frequency[5:7].tolist() == [2, 1]
    before = (path / STATISTICS_FILE).stat().st_mtime_ns
    make_statistics(path)
    assert (path / STATISTICS_FILE).stat().st_mtime_ns == before

    _write(path, [[[5, 6], [6]], [[6]], [[7]]])
    with pytest.raises(
        DataError, match=r"of an earlier state of the corpus: make it again with `ernie stats .*corpus`"
    ):
        read_statistics(path)
    assert make_statistics(path).document_frequency[5:8].tolist() == [1, 2, 1]
    assert read_statistics(path).document_frequency[5:8].tolist() == [1, 2, 1]


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path = _write(tmp_path / "corpus", [[[5, 6]]])
    make_statistics(path)
    file = path / STATISTICS_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    with pytest.raises(DataError, match="cut short"):
        read_statistics(path)
    file.write_bytes(b"my own figures")
    with pytest.raises(DataError, match="holds no statistics of a corpus: move it"):
        make_statistics(path)
    assert file.read_bytes() == b"my own figures"
    with pytest.raises(DataError, match="is not a finished corpus"):
        make_statistics(tmp_path)
