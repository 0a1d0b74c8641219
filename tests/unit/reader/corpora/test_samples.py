"""Packing of sentences into samples, against a plain loop; lengths, neighbours, and copies in other processes."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.reader_corpora import corpus_of
from reader.corpora.corpus import Corpus, write_corpus
from reader.corpora.samples import CUT, SHORT, SampleIndex
from reader.errors import DataError

documents = st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=25)


def slow_samples(
    shards: list[list[list[int]]], longest: int, least: int
) -> tuple[list[tuple[int, int, list[int]]], int, int]:
    """(first token, document, sentence lengths) of each sample, cut sentences, and samples left out; by plain loops."""
    found: list[tuple[int, int, list[int]]] = []
    cut = short = token = document = 0

    def close(start: int, sizes: list[int]) -> None:
        nonlocal short
        if sum(sizes) >= least:
            found.append((start, document, sizes))
        elif sum(sizes) > 0:
            short += 1

    for shard in shards:
        for sentences in shard:
            start = token
            sizes: list[int] = []
            for size in sentences:
                if sizes and sum(sizes) + size > longest:
                    close(start, sizes)
                    start, sizes = token, []
                if size > longest:
                    cut += 1
                    pieces = -(-size // longest)
                    edges = [size * i // pieces for i in range(pieces + 1)]
                    for a, b in pairwise(edges):
                        close(token + a, [b - a])
                    start, sizes = token + size, []
                else:
                    sizes = [*sizes, size]
                token += size
            close(start, sizes)
            document += 1
    return found, cut, short


@given(st.lists(documents, max_size=3), st.integers(1, 40), st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_packing_equals_a_plain_loop(shards: list[list[list[int]]], longest: int, least: int) -> None:
    least = min(least, longest)
    index = SampleIndex(corpus_of(*shards), longest, least)
    expected, cut, short = slow_samples(shards, longest, least)
    samples = [index.sample(k) for k in range(len(index))]
    assert [(len(s.tokens), s.document) for s in samples] == [(sum(sizes), d) for _, d, sizes in expected]
    for sample, (start, _, sizes) in zip(samples, expected, strict=True):
        assert sample.tokens.tolist() == list(range(start, start + sum(sizes)))
        assert len(sample.flags) == len(sample.tokens)
        # Sentences without tokens at the end of a sample belong to either side: compare the others.
        assert [n for n in np.diff(sample.sentence_offsets).tolist() if n] == [n for n in sizes if n]
        assert sample.sentence_offsets[0] == 0
        assert sample.sentence_offsets[-1] == len(sample.tokens)
    assert index.lengths.tolist() == [sum(sizes) for _, _, sizes in expected]
    assert (index.skipped.counts.get(CUT, 0), index.skipped.counts.get(SHORT, 0)) == (cut, short)


@given(st.lists(documents, max_size=3), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_every_token_is_in_exactly_one_sample(shards: list[list[list[int]]], longest: int) -> None:
    corpus = corpus_of(*shards)
    index = SampleIndex(corpus, longest)
    seen = [token for k in range(len(index)) for token in index.sample(k).tokens.tolist()]
    assert seen == list(range(corpus.n_tokens))
    assert index.lengths.max(initial=0) <= longest


@given(st.lists(documents, max_size=3), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_a_sample_lies_in_its_document_where_it_says(shards: list[list[list[int]]], longest: int) -> None:
    index = SampleIndex(corpus_of(*shards), longest)
    sizes = [sizes for shard in shards for sizes in shard]
    assert index.n_documents == len(sizes)
    for number, lengths in enumerate(sizes):
        document = index.document(number)
        assert np.diff(document.sentence_offsets).tolist() == lengths
        assert len(document.tokens) == len(document.flags) == sum(lengths)
    for k in range(len(index)):
        sample = index.sample(k)
        document = index.document(sample.document)
        place = slice(sample.start, sample.start + len(sample.tokens))
        assert np.array_equal(document.tokens[place], sample.tokens)
        assert np.shares_memory(document.tokens[place], sample.tokens)


def test_many_documents_and_one_very_long_one_take_both_ways_of_stepping() -> None:
    shards = [[[3, 4]] * 40 + [[2] * 500] + [[5]] * 30]
    index = SampleIndex(corpus_of(*shards), 7)
    expected, _, _ = slow_samples(shards, 7, 1)
    assert index.lengths.tolist() == [sum(sizes) for _, _, sizes in expected]


def test_a_long_sentence_is_cut_evenly_and_named() -> None:
    index = SampleIndex(corpus_of([[3]], [[4, 25, 4]]), 10, min_tokens=2)
    assert index.lengths.tolist() == [3, 4, 8, 8, 9, 4]
    assert index.skipped.lines() == [f"1 × {CUT} (train-00001.safetensors, document 0)"]
    assert [index.sample(k).sentence_offsets.tolist() for k in (1, 2, 4)] == [[0, 4], [0, 8], [0, 9]]


def test_samples_name_their_document_and_its_language() -> None:
    index = SampleIndex(corpus_of([[5, 5, 5], [], [1]], [[2, 2], [9]]), 10, min_tokens=2)
    assert index.n_documents == 5
    assert [index.sample(k).document for k in range(len(index))] == [0, 0, 3, 4]
    assert [index.sample(k).language for k in range(len(index))] == [
        -1,
        -1,
        -1,
        0,
    ]  # by place in the shard, modulo 3, less 1


def test_tokens_are_views_of_the_shard() -> None:
    corpus = corpus_of([[5, 5]])
    sample = SampleIndex(corpus, 5).sample(1)
    assert np.shares_memory(sample.tokens, corpus.shards[0].tokens)
    assert np.shares_memory(sample.flags, corpus.shards[0].flags)


def test_a_copy_by_pickle_reads_the_corpus_on_disk_and_is_small(tmp_path: Path) -> None:
    shards = corpus_of([[50, 60]] * 500).shards
    write_corpus(tmp_path, {"train": shards}, vocab_sha256="x", vocab_size=60_000)
    index = SampleIndex(Corpus.open(tmp_path), 64)
    raw = pickle.dumps(index)
    copy = pickle.loads(raw)
    assert len(raw) < 40 * len(index) + 2000  # its own arrays, no text
    for k in (0, 1, 501, len(index) - 1):
        assert copy.sample(k).tokens.tolist() == index.sample(k).tokens.tolist()
    assert copy.lengths.tolist() == index.lengths.tolist()


@pytest.mark.parametrize(("longest", "least"), [(0, 1), (5, 6), (5, 0), (-2, 1)])
def test_impossible_lengths_are_refused(longest: int, least: int) -> None:
    with pytest.raises(DataError, match="impossible"):
        SampleIndex(corpus_of([[5]]), longest, least)
