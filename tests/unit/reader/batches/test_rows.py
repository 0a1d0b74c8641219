"""Rows as model inputs and their order, against slow direct computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.batches import rows as features
from reader.batches.epochs import epoch_batches, evaluation_batches, rank_share, steps_per_epoch
from reader.batches.rows import BERT_LAYOUT, RowLayout, encode_rows, pad_rows
from reader.errors import DataError
from reader.lengths import truncate_pair
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

WORDS = [f"w{i}" for i in range(30)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    return load_tokenizer(path)


@given(a=st.integers(0, 60), b=st.integers(0, 60), room=st.integers(2, 80))
def test_truncation_equals_popping_one_at_a_time(a: int, b: int, room: int) -> None:
    kept_a, kept_b = a, b
    while kept_a + kept_b > room:
        if kept_a > kept_b:
            kept_a -= 1
        else:
            kept_b -= 1
    ours = truncate_pair(np.array([a]), np.array([b]), room)
    assert (int(ours[0][0]), int(ours[1][0])) == (kept_a, kept_b)


texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join), min_size=1, max_size=6)


@given(texts_a=texts, seed=st.integers(0, 99), max_length=st.integers(8, 20), separators=st.integers(1, 2))
def test_rows_equal_a_loop_over_rows(
    tokenizer: Tokenizer, texts_a: list[str], seed: int, max_length: int, separators: int
) -> None:
    vocab = tokenizer.vocab
    rng = np.random.default_rng(seed)
    texts_b = [" ".join(rng.choice(WORDS, size=rng.integers(0, 14))) for _ in texts_a]
    encoded = encode_rows(tokenizer, texts_a, texts_b, max_length, RowLayout(separators))
    for row, (text_a, text_b) in enumerate(zip(texts_a, texts_b, strict=True)):
        a, b = ([vocab.id(word) for word in text.split()] for text in (text_a, text_b))
        while 1 + len(a) + separators + len(b) + 1 > max_length:
            (a if len(a) > len(b) else b).pop()
        begin, end = encoded.offsets[row], encoded.offsets[row + 1]
        assert encoded.ids[begin:end].tolist() == [vocab.cls, *a, *[vocab.sep] * separators, *b, vocab.sep]
        assert encoded.segments[begin:end].tolist() == [0] * (1 + len(a) + separators) + [1] * (len(b) + 1)
    rows = np.arange(len(texts_a))[::-1].astype(np.int64)
    padded = pad_rows(encoded, rows, vocab.pad)
    assert padded["attention_mask"].sum() == encoded.lengths.sum()
    for place, row in enumerate(rows):
        length = encoded.lengths[row]
        begin = encoded.offsets[row]
        assert padded["input_ids"][place, :length].tolist() == encoded.ids[begin : begin + length].tolist()
        assert set(padded["input_ids"][place, length:].tolist()) <= {vocab.pad}
        assert padded["segment_ids"][place, length:].sum() == padded["attention_mask"][place, length:].sum() == 0


def test_single_texts_are_cut_at_the_end(tokenizer: Tokenizer) -> None:
    encoded = encode_rows(tokenizer, [" ".join(WORDS), "w1"], None, 8, BERT_LAYOUT)
    vocab = tokenizer.vocab
    assert encoded.ids.tolist() == [
        *(vocab.cls, *(vocab.id(word) for word in WORDS[:6]), vocab.sep),
        *(vocab.cls, vocab.id("w1"), vocab.sep),
    ]


@given(rows=st.integers(1, 300), batch=st.integers(1, 17), seed=st.integers(0, 5))
def test_an_epoch_has_every_row_once_and_epochs_differ(rows: int, batch: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(3, 60, rows).astype(np.int32)
    batches = epoch_batches(lengths, batch, seed, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
    assert len(batches) == steps_per_epoch(rows, batch)
    assert sorted({len(part) for part in batches}, reverse=True)[0] == min(batch, rows)
    again = epoch_batches(lengths, batch, seed, epoch=0)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    if rows > 40:
        assert np.concatenate(batches).tolist() != np.concatenate(epoch_batches(lengths, batch, seed, 1)).tolist()


@given(rows=st.integers(1, 60), world=st.integers(1, 5), micro=st.integers(1, 9))
def test_ranks_share_a_batch_without_loss(rows: int, world: int, micro: int) -> None:
    batch = np.random.default_rng(rows).permutation(rows).astype(np.int64)
    shares = [rank_share(batch, rank, world, micro) for rank in range(world)]
    assert sorted(np.concatenate([part for share in shares for part in share]).tolist()) == list(range(rows))
    assert len({len(share) for share in shares}) == 1
    assert max(len(part) for share in shares for part in share) <= micro


def test_evaluation_reads_each_row_once_on_any_number_of_ranks_with_little_padding() -> None:
    lengths = np.random.default_rng(0).lognormal(3, 0.6, 1009).clip(3, 128).astype(np.int32)
    for world in (1, 2, 3):
        parts = [part for rank in range(world) for part in evaluation_batches(lengths, 32, rank, world)]
        assert sorted(np.concatenate(parts).tolist()) == list(range(1009))
    for batch_rows in (1, 32, 1000):
        real = slots = 0
        for rows in evaluation_batches(lengths, batch_rows):
            assert len(rows) <= batch_rows
            real += int(lengths[rows].sum())
            slots += len(rows) * int(lengths[rows].max())
        assert 1 - real / slots < 0.05


@pytest.mark.parametrize("pairs", [False, True])
def test_rows_do_not_depend_on_the_size_of_blocks(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, pairs: bool
) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(0, 9))) for _ in range(22)]
    texts_b = texts[::-1] if pairs else None
    whole = encode_rows(tokenizer, texts, texts_b, 12, BERT_LAYOUT)
    monkeypatch.setattr(features, "_BLOCK_ROWS", 5)
    parts = encode_rows(tokenizer, texts, texts_b, 12, BERT_LAYOUT)
    for name in ("ids", "segments", "offsets"):
        one, other = getattr(whole, name), getattr(parts, name)
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


def test_a_row_has_one_or_two_separators_between_texts() -> None:
    assert [RowLayout(1).specials(n) for n in (1, 2, 3)] == [2, 3, 4]
    assert [RowLayout(2).specials(n) for n in (1, 2, 3)] == [2, 4, 6]
    with pytest.raises(DataError, match="1 or 2 separators"):
        RowLayout(3)
