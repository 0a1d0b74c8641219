"""Pairs as samples, against a slow reading of the definition."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.batches.plan import BatchPlan
from reader.corpora.corpus import write_corpus
from reader.corpora.pairs import PairCorpus, PairIndex, PairShard
from reader.errors import DataError

Texts = list[tuple[list[int], list[int], int]]
TEXT = st.lists(st.integers(5, 9), min_size=1, max_size=12)
PAIRS = st.lists(st.tuples(TEXT, TEXT, st.integers(0, 2)), max_size=12)


def shard_of(pairs: Texts) -> PairShard:
    tokens = [token for a, b, _ in pairs for token in a + b]
    return PairShard(
        np.cumsum([0, *(len(text) for a, b, _ in pairs for text in (a, b))]).astype(np.int64),
        np.array([label for _, _, label in pairs], np.int32),
        np.array(tokens, np.uint16),
        np.array(tokens, np.uint8) + np.uint8(100),
    )


def in_memory(*shards: Texts) -> PairCorpus:
    info = {"labels": ["x", "y", "z"], "vocab_size": 10}
    return PairCorpus(Path("in-memory"), "train", info, [shard_of(pairs) for pairs in shards])


def cut(a: list[int], b: list[int], room: int) -> tuple[list[int], list[int]]:
    """Tokens popped from the longer text, one at a time."""
    a, b = list(a), list(b)
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop()
    return a, b


@given(PAIRS, PAIRS, st.integers(2, 20), st.integers(1, 8))
def test_samples_equal_a_slow_reading(first: Texts, second: Texts, room: int, least: int) -> None:
    least = min(least, room)
    index = PairIndex(in_memory(first, second), room, least)
    wanted = [pair for pair in first + second if len(pair[0] + pair[1]) >= least]
    assert len(index) == len(wanted)
    for k, (a, b, label) in enumerate(wanted):
        short_a, short_b = cut(a, b, room)
        sample = index.sample(k)
        assert sample.tokens.tolist() == short_a + short_b
        assert (sample.flags == sample.tokens + 100).all()
        assert sample.sentence_offsets.tolist() == [0, len(short_a), len(short_a + short_b)]
        assert (sample.index, sample.document, index.labels[k]) == (k, k, label)
        assert index.sizes[k].tolist() == [len(short_a), len(short_b)]
        assert index.lengths[k] == len(short_a + short_b)
        whole = index.document(k)
        assert whole.tokens.tolist() == a + b
        assert whole.sentence_offsets.tolist() == [0, len(a), len(a + b)]
    long = sum(len(a + b) > room for a, b, _ in first + second)
    assert index.skipped.total == len(first + second) - len(wanted) + long


@given(PAIRS, PAIRS)
def test_keys_are_equal_where_texts_are(first: Texts, second: Texts) -> None:
    keys = PairIndex(in_memory(first, second), 100).text_keys()
    texts = [[tuple(a), tuple(b)] for a, b, _ in first + second]
    assert keys.shape == (len(texts), 2)
    flat = [text for pair in texts for text in pair]
    for i, key in enumerate(keys.ravel()):
        assert [bool(other) for other in keys.ravel() == key] == [text == flat[i] for text in flat]


def test_lengths_that_are_impossible_are_refused() -> None:
    for room, least in ((1, 1), (4, 5), (4, 0)):
        with pytest.raises(DataError, match="impossible"):
            PairIndex(in_memory([([5], [6], 0)]), room, least)
    with pytest.raises(DataError, match=r"no samples in in-memory \(split 'train'\)"):
        BatchPlan([PairIndex(in_memory([([5], [6], 0)]), 9, 3)], batch_rows=2)


def test_documents_are_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path, {"train": []}, vocab_sha256="x", vocab_size=10)
    with pytest.raises(DataError, match=r"holds documents, where labelled pairs are needed; .*prepare-pairs"):
        PairCorpus.open(tmp_path)


def test_an_index_travels_as_numbers(tmp_path: Path) -> None:
    from helpers.pair_tables import vocabulary
    from reader.prepare.pair_parts import PairColumns
    from reader.prepare.pairs import prepare_pairs

    table = tmp_path / "t.tsv"
    table.write_text("a\tb\tl\n" + "".join(f"w{i}\tw{i} river " * 1 + f"old\t{i % 2}\n" for i in range(50)))
    prepare_pairs([table], tmp_path / "c", vocabulary(tmp_path), PairColumns("a", "b", "l"))
    index = PairIndex(PairCorpus.open(tmp_path / "c"), 3)
    again = pickle.loads(pickle.dumps(index))
    assert index.sample(7).tokens.tolist() == again.sample(7).tokens.tolist()
    assert len(pickle.dumps(index)) < 5000
