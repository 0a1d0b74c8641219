"""The word cache is exact for any text, and the flags say what the original text says."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reader import flags as F
from reader.errors import DataError
from reader.tokenizers import wordpiece
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.vocab import SPECIALS, Vocab, write_vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEéÉ=≠中国.,“”-…'\u0301\u0338ß하"
PIECES = [*SPECIALS, *LETTERS, *("##" + c for c in LETTERS), "the", "un", "##aff", "##able", "united", "states", "mask"]
# Spaces of all kinds, control and combining characters, marks, letters that change length when lower-cased.
ALPHABET = LETTERS + " \t\n\r\x00\x0b\x1c\x85\xa0\u200b\u200d\u2028\u3000\ufeff\ufffdİIı"
ALPHABET += "\u8c48\uf900\U00020001\U0002b740#—‘$[]한ﬁ"


def make(**settings_: bool) -> WordPieceTokenizer:
    return WordPieceTokenizer(Vocab(PIECES, "test"), **settings_)


TOKENIZERS = [
    make(),
    make(lowercase=False),
    make(lowercase=True, strip_accents=False),
    make(lowercase=False, strip_accents=True, tokenize_chinese_chars=False),
]


@settings(max_examples=400, deadline=None)
@given(
    texts=st.lists(
        st.text(alphabet=st.one_of(st.sampled_from(ALPHABET), st.characters(exclude_categories=["Cs"])), max_size=30),
        max_size=5,
    ),
    number=st.integers(0, len(TOKENIZERS) - 1),
)
@example(texts=["≠ =\u0338 =\u0301x ,\u0301中\u0301", "a\x00b \x1c\x85 x\ny", "", " "], number=0)
@example(texts=["한국어 中\U00020001国 İstanbul", "x" * 101, "x" * 100 + "," + "y" * 101], number=1)
@example(texts=["[MASK] [CLS]", "“un-aff” able…"], number=2)
def test_same_ids_and_words_as_the_library(texts: list[str], number: int) -> None:
    tokenizer = TOKENIZERS[number]
    batch = tokenizer.encode_batch(texts)
    assert len(batch.offsets) == len(texts) + 1
    for i, text in enumerate(texts):
        expected = tokenizer.library.encode(text, add_special_tokens=False)
        row = slice(batch.offsets[i], batch.offsets[i + 1])
        assert batch.ids[row].tolist() == expected.ids
        words = expected.word_ids
        starts = [j == 0 or words[j] != words[j - 1] for j in range(len(words))]
        assert (batch.flags[row] & F.WORD_START).astype(bool).tolist() == starts


@settings(max_examples=400, deadline=None)
@given(
    texts=st.lists(
        st.text(alphabet=st.one_of(st.sampled_from(ALPHABET), st.characters(exclude_categories=["Cs"])), max_size=30),
        max_size=5,
    ),
    number=st.integers(0, len(TOKENIZERS) - 1),
)
@example(texts=["中\U00020001国 İstanbul中", "a中,b  中\n中 the", "", "中"], number=0)
@example(texts=["中国 a", "É=\u0338 한中"], number=3)
def test_places_are_those_of_the_library(texts: list[str], number: int) -> None:
    tokenizer = TOKENIZERS[number]
    batch, plain = tokenizer.encode_spans(texts), tokenizer.encode_batch(texts)
    assert batch.ids.tolist() == plain.ids.tolist()
    assert batch.offsets.tolist() == plain.offsets.tolist()
    for i, text in enumerate(texts):
        row = slice(batch.offsets[i], batch.offsets[i + 1])
        expected = tokenizer.library.encode(text, add_special_tokens=False).offsets
        assert list(zip(batch.begins[row].tolist(), batch.ends[row].tolist(), strict=True)) == expected


@pytest.mark.parametrize("group", [1, 5, 1 << 18])
def test_places_in_many_groups_and_beside_surrogates(monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    """Half of a surrogate pair gives no token, and counts as one character for what follows it."""
    monkeypatch.setattr(wordpiece, "_GROUP", group)
    expected = {
        "the 中states": [("the", 0, 3), ("中", 4, 5), ("states", 5, 11)],
        "un\ud800 able": [("un", 0, 2), ("a", 4, 5), ("##b", 5, 6), ("##l", 6, 7), ("##e", 7, 8)],
        "\udfffthe": [("the", 1, 4)],
        "un\ud800able": [("un", 0, 2), ("##able", 3, 7)],
        "\ud800\ud801 \udc00": [],
        "中\ud800国,\udfff a": [("中", 0, 1), ("国", 2, 3), (",", 3, 4), ("a", 6, 7)],
        "mask": [("mask", 0, 4)],
    }
    tokenizer = make()
    batch = tokenizer.encode_spans([*expected])
    pieces = [tokenizer.vocab.pieces[number] for number in batch.ids]
    found = list(zip(pieces, batch.begins.tolist(), batch.ends.tolist(), strict=True))
    rows = [found[begin:end] for begin, end in pairwise(batch.offsets.tolist())]
    assert dict(zip(expected, rows, strict=True)) == expected
    assert make().encode_spans([]).begins.tolist() == []


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.text(alphabet=st.sampled_from("aunble中国, É\ud800\udbff\udc00\udfff"), max_size=20), max_size=5),
    number=st.integers(0, len(TOKENIZERS) - 1),
)
def test_places_beside_surrogates_are_those_beside_characters_that_are_no_text(texts: list[str], number: int) -> None:
    """U+FFFD is a single character that the library itself drops: it says where the others are."""
    tokenizer = TOKENIZERS[number]
    batch = tokenizer.encode_spans(texts)
    for i, text in enumerate(texts):
        sound = "".join("\ufffd" if 0xD800 <= ord(character) <= 0xDFFF else character for character in text)
        expected = tokenizer.library.encode(sound, add_special_tokens=False)
        row = slice(batch.offsets[i], batch.offsets[i + 1])
        assert batch.ids[row].tolist() == expected.ids
        assert list(zip(batch.begins[row].tolist(), batch.ends[row].tolist(), strict=True)) == expected.offsets


def test_flags_by_hand() -> None:
    tokenizer = make(lowercase=True)
    batch = tokenizer.encode_batch(["The UNaffable 中国a É…", "iPod"])
    pieces = [tokenizer.vocab.pieces[i] for i in batch.ids]
    flags = dict(zip(pieces, batch.flags.tolist(), strict=False))
    assert pieces == ["the", "un", "##aff", "##able", "中", "国", "a", "e", "…", "i", "##p", "##o", "##d"]
    assert flags["the"] == F.WORD_START | F.UPPER | F.CAPITAL
    assert flags["un"] == F.WORD_START | F.UPPER | F.CAPITAL
    assert flags["##aff"] == F.CAPITAL
    assert flags["##able"] == F.CAPITAL
    assert flags["中"] == flags["国"] == F.WORD_START | F.CJK
    assert flags["a"] == flags["…"] == flags["i"] == F.WORD_START
    assert flags["e"] == F.WORD_START | F.UPPER | F.CAPITAL
    assert flags["##p"] == F.UPPER
    assert flags["##o"] == 0


def test_the_cache_stays_bounded_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpiece, "_MAX_CHUNKS", 50)
    monkeypatch.setattr(wordpiece, "_MAX_WORDS", 80)
    monkeypatch.setattr(wordpiece, "_GROUP", 100)
    tokenizer = make()
    texts = [f"the {i} un{i * 7} {i}affable" for i in range(500)]
    batch = tokenizer.encode_batch(texts)
    expected = tokenizer.library.encode_batch(texts, add_special_tokens=False)
    assert batch.ids.tolist() == [i for e in expected for i in e.ids]
    assert len(tokenizer._numbers) < 50 + 100
    assert len(tokenizer._words) < 80 + 2 * (50 + 100)


def test_save_and_load(tmp_path: Path) -> None:
    tokenizer = make(lowercase=False, tokenize_chinese_chars=False)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.config() == tokenizer.config()
    assert again.encode("The 中国") == tokenizer.encode("The 中国")
    assert load_tokenizer(tmp_path, lowercase=True).config() != tokenizer.config()
    assert tokenizer.decode(tokenizer.encode("unaffable the a")) == "unaffable the a"
    with pytest.raises(DataError, match="no setting 'lowercased'"):
        load_tokenizer(tmp_path, lowercased=True)
    with pytest.raises(DataError, match="true or false"):
        load_tokenizer(tmp_path, lowercase="no")
    write_vocab(tmp_path / "vocab.txt", [*PIECES, "extra"])
    with pytest.raises(DataError, match="SHA-256 differs"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        load_tokenizer(tmp_path)
    with pytest.raises(DataError, match="no tokenizer_config"):
        load_tokenizer(tmp_path.parent)
    with pytest.raises(DataError, match="no such vocabulary"):
        load_tokenizer(tmp_path / "nothing.txt")
    (tmp_path / "x.model").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="not a SentencePiece model"):
        load_tokenizer(tmp_path / "x.model")


def test_casing_is_taken_from_the_vocabulary() -> None:
    assert make().lowercase is False  # the capitals in LETTERS are more than 2 % of this small vocabulary
    lower = [piece for piece in PIECES if piece.startswith("[") or piece == piece.lower()]
    assert WordPieceTokenizer(Vocab(lower, "test")).lowercase is True


def test_half_surrogates_are_no_text() -> None:
    for tokenizer in TOKENIZERS:
        assert tokenizer.encode("a\udbb9b \ud800 \udfff,c") == tokenizer.encode("ab ,c")
        assert tokenizer.encode("\ud83d") == []


def test_empty_batches() -> None:
    batch = make().encode_batch([])
    assert batch.ids.dtype == np.int32
    assert batch.offsets.tolist() == [0]
    assert make().encode_batch(["", " ", "\x00"]).offsets.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("name", ["../vocab.txt", "/vocab.txt", "sub/vocab.txt", "..", "", ".", 7, None, ["vocab.txt"]])
def test_the_vocabulary_file_is_beside_its_settings(tmp_path: Path, name: object) -> None:
    folder = tmp_path / "folder"
    make().save(folder)
    make().save(tmp_path)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "vocab_file": name}))
    with pytest.raises(DataError, match=r"tokenizer_config\.json: damaged: `vocab_file`"):
        load_tokenizer(folder)
