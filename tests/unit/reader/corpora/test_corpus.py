"""Shards on disk: what is written is what is mapped, and damage is named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from reader.corpora.corpus import CORPUS_FILE, Corpus, Shard, write_corpus
from reader.errors import DataError


def make_shard(documents: list[list[int]], rng: np.random.Generator, vocab_size: int) -> Shard:
    """A shard whose documents have sentences of the given lengths."""
    lengths = [length for document in documents for length in document]
    n = sum(lengths)
    return Shard(
        tokens=rng.integers(0, vocab_size, n).astype(np.int32),
        flags=rng.integers(0, 256, n).astype(np.uint8),
        sentence_offsets=np.cumsum([0, *lengths], dtype=np.int64),
        document_offsets=np.cumsum([0, *map(len, documents)], dtype=np.int64),
        document_language=rng.integers(-1, 3, len(documents)).astype(np.int16),
    )


@settings(max_examples=20, deadline=None)
@given(
    shards=st.lists(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), max_size=4), min_size=1, max_size=3),
    vocab_size=st.sampled_from([5, 65_536, 65_537, 250_002]),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, shards: list[list[list[int]]], vocab_size: int) -> None:
    rng = np.random.default_rng(len(shards))
    path = tmp_path_factory.mktemp("corpus")
    written = [make_shard(documents, rng, vocab_size) for documents in shards]
    write_corpus(path, {"train": written, "heldout": []}, vocab_sha256="x", vocab_size=vocab_size, languages=["en"])
    corpus = Corpus.open(path)
    assert corpus.n_documents == sum(map(len, shards))
    assert corpus.n_tokens == sum(sum(map(sum, documents)) for documents in shards)
    for number, (shard, original) in enumerate(zip(corpus.shards, written, strict=True)):
        by_library = load_file(path / f"train-{number:05d}.safetensors")
        for name in by_library:
            np.testing.assert_array_equal(getattr(shard, name), getattr(original, name), err_msg=name)
            np.testing.assert_array_equal(getattr(shard, name), by_library[name], err_msg=name)
        assert shard.tokens.dtype == (np.uint16 if vocab_size <= 65_536 else np.int32)
        assert shard.sentence_offsets.flags.aligned
        assert not shard.tokens.flags.writeable
    again = pickle.loads(pickle.dumps(corpus))
    np.testing.assert_array_equal(again.shards[0].tokens, corpus.shards[0].tokens)
    assert Corpus.open(path, "heldout").n_tokens == 0


def test_unfinished_or_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist.*ernie prepare"):
        Corpus.open(tmp_path / "nowhere")
    shard = make_shard([[3, 4]], np.random.default_rng(0), 9)
    write_corpus(tmp_path, {"train": [shard]}, vocab_sha256="x", vocab_size=9)
    with pytest.raises(DataError, match="no split 'heldout'"):
        Corpus.open(tmp_path, "heldout")
    file = tmp_path / "train-00000.safetensors"
    whole = file.read_bytes()
    for length in (0, 5, 40, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match="train-00000"):
            Corpus.open(tmp_path)
    file.write_bytes(whole.replace(b'"vocab_sha256": "x"', b'"vocab_sha256": "y"'))
    with pytest.raises(DataError, match="another vocabulary"):
        Corpus.open(tmp_path)
    file.write_bytes(whole)
    info = json.loads((tmp_path / CORPUS_FILE).read_text())
    split = info["splits"]["train"]
    for key in ("vocab_sha256", "vocab_size", "splits", "languages", "segmenters"):
        without = {name: value for name, value in info.items() if name != key}
        for damaged in (without, {**info, key: None}):
            (tmp_path / CORPUS_FILE).write_text(json.dumps(damaged))
            with pytest.raises(DataError, match=rf"corpus\.json: damaged: {key} is missing"):
                Corpus.open(tmp_path)
    for key in ("shards", "n_documents", "n_sentences", "n_tokens"):
        damaged = {**info, "splits": {"train": {name: value for name, value in split.items() if name != key}}}
        (tmp_path / CORPUS_FILE).write_text(json.dumps(damaged))
        with pytest.raises(DataError, match=rf"splits\.train\.{key} is missing"):
            Corpus.open(tmp_path)
    (tmp_path / CORPUS_FILE).write_text(json.dumps({**info, "format_version": 99}))
    with pytest.raises(DataError, match="version 99"):
        Corpus.open(tmp_path)
    (tmp_path / CORPUS_FILE).unlink()
    with pytest.raises(DataError, match="not a finished corpus"):
        Corpus.open(tmp_path)
