"""Flags of SentencePiece tokens, on a model whose pieces are known."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import pytest
import sentencepiece

from reader import flags as F
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.sentencepiece import SentencePieceTokenizer

TEXT = ["the Dog saw, the dog (2) 中国人 went to NewYork don't"] * 30 + ["The Dogs sat, ok 中国 Paris"] * 30


@pytest.fixture(scope="module")
def model() -> bytes:
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=stream, vocab_size=60, hard_vocab_limit=False, minloglevel=3
    )
    return stream.getvalue()


def test_flags(model: bytes, tmp_path: Path) -> None:
    tokenizer = SentencePieceTokenizer(model, "test")
    own = tokenizer.library.get_piece_size()
    assert tokenizer.added == ["[PAD]", "[MASK]"]
    assert (tokenizer.vocab.pad, tokenizer.vocab.mask) == (own, own + 1)
    texts = ["the Dog, 中国 Paris", "Ω Žx"]  # Ω and Ž are unknown to the model
    batch = tokenizer.encode_batch(texts)
    pieces = tokenizer.library.encode(texts[0], out_type=str)
    flags = batch.flags[: batch.offsets[1]].tolist()
    # Put the words together again from the flags: the pieces of each word.
    words: list[str] = []
    for piece, bits in zip(pieces, flags, strict=True):
        if bits & F.WORD_START:
            words.append("")
        words[-1] += piece
    assert [word.lstrip("▁") for word in words] in (
        ["the", "Dog", ",", "中", "国", "Paris"],
        ["the", "Dog", ",", "中国", "Paris"],
    )
    capital = [bool(bits & F.CAPITAL) for bits in flags]
    in_capital_word = [
        word.lstrip("▁")[0].isupper() for word, n in zip(words, _pieces_per_word(flags), strict=True) for _ in range(n)
    ]
    assert capital == in_capital_word
    assert [bool(bits & F.UPPER) for bits in flags] == [piece != piece.lower() for piece in pieces]
    second = batch.flags[batch.offsets[1] :]
    assert (second & F.UPPER).astype(bool).sum() == 2
    assert second[0] & F.WORD_START
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.config() == tokenizer.config()
    assert again.encode("the dog") == tokenizer.encode("the dog")
    assert again.decode([*again.encode("the dog"), again.vocab.mask]) == "the dog [MASK]"


def _pieces_per_word(flags: list[int]) -> list[int]:
    starts = [i for i, bits in enumerate(flags) if bits & F.WORD_START] + [len(flags)]
    return [b - a for a, b in pairwise(starts)]


def test_places_are_those_of_the_pieces_in_the_text(model: bytes) -> None:
    tokenizer = SentencePieceTokenizer(model, "test")
    texts = ["the Dog,  中国 Paris", "", " Ω\ud800 Žx went", "don't "]
    batch, plain = tokenizer.encode_spans(texts), tokenizer.encode_batch(texts)
    assert batch.ids.tolist() == plain.ids.tolist()
    assert batch.offsets.tolist() == plain.offsets.tolist()
    for i, text in enumerate(texts):
        row = slice(batch.offsets[i], batch.offsets[i + 1])
        surfaces = [text[begin:end] for begin, end in zip(batch.begins[row], batch.ends[row], strict=True)]
        assert "".join(surfaces) == "".join(text.split())
        if i != 2:  # no unknown pieces
            pieces = tokenizer.library.encode(text, out_type=str)
            assert surfaces == [piece.removeprefix("▁") for piece in pieces]
    assert tokenizer.encode_spans([]).ends.tolist() == []


def test_no_text_and_empty_texts(model: bytes) -> None:
    tokenizer = SentencePieceTokenizer(model, "test")
    assert tokenizer.encode_batch([]).offsets.tolist() == [0]
    batch = tokenizer.encode_batch(["", "the", ""])
    assert batch.offsets[1] == 0
    assert batch.offsets[2] == batch.offsets[3] > 0
    assert batch.flags[0] & F.WORD_START
    assert tokenizer.encode("the \ud83d dog") == tokenizer.encode("the \ufffd dog")
