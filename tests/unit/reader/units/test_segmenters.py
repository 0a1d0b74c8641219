"""Units found by segmenters on sentences where they are known, and how they become bits."""

from __future__ import annotations

import builtins
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader import flags as F
from reader.errors import DataError
from reader.tokenizers.base import TokenBatch, Tokenizer
from reader.tokenizers.vocab import SPECIALS, Vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer
from reader.units.ngrams import greedy_spans, span_keys
from reader.units.phrases import PhraseCounter
from reader.units.segmenters import Spans, describe_segmenters, make_segmenters, mark
from reader.units.words import SentenceWords, ngram_keys, word_keys

WORDS = """the president of united states bank england visited new york city in london and a he said that u ##n ##ite
apple pie i eat , . - 中 国 人 民 银 行 很 大""".split()  # noqa: SIM905


@pytest.fixture
def tokenizer() -> Tokenizer:
    return WordPieceTokenizer(Vocab([*SPECIALS, *WORDS, *"bcdefghijklmnopqrstvwxyz"], "test"), lowercase=True)


def units(
    tokenizer: Tokenizer, text: str | list[str], specs: list[str], bit: int, cont: int, **files: Path
) -> list[str]:
    """Text of each unit that the segmenters find."""
    texts = [text] if isinstance(text, str) else text
    sentences = SentenceWords.of(tokenizer.encode_batch(texts), texts)
    segmenters = make_segmenters(specs, tokenizer, files.get("phrases"))
    flags = mark(sentences, [spans for one in segmenters for spans in one.find(sentences)])
    found: list[str] = []
    for token, bits in zip(sentences.ids.tolist(), flags.tolist(), strict=True):
        piece = tokenizer.vocab.pieces[token]
        if not bits & bit:
            continue
        if bits & F.WORD_START and not bits & cont:
            found.append(piece)
        else:
            found[-1] += (" " if bits & F.WORD_START else "") + piece.removeprefix("##")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The President of the United States visited New York.", ["president", "united states", "new york"]),
        (
            "President of England visited the Bank of England in London",
            ["president of england", "bank of england", "london"],
        ),
        ("England visited the city. He said that I eat.", []),
        ("New York City visited a Unite", ["new york city", "unite"]),
        (["I eat in New", "York visited London"], ["new", "london"]),
        ("New York, London and England", ["new york", "london", "england"]),
        ("BANK ENGLAND VISITED NEW YORK CITY UNITED STATES BANK", []),
        (["", "London London", ""], ["london london"]),
    ],
)
def test_capitals(tokenizer: Tokenizer, text: str | list[str], expected: list[str]) -> None:
    assert units(tokenizer, text, ["capitals"], F.IN_ENTITY, F.ENTITY_CONT) == expected


def test_gazetteer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("New York\nNew York City\tentity\r\napple pie\tphrase\nApple\n\n中国人\tphrase\nthat\tphrase\n")
    spec = [f"gazetteer:{file}"]
    text = "He said that new york visited New York City, I eat apple pie in New York 中国人民 Apple"
    assert units(tokenizer, text, spec, F.IN_ENTITY, F.ENTITY_CONT) == ["new york city", "new york", "apple"]
    assert units(tokenizer, text, spec, F.IN_PHRASE, F.PHRASE_CONT) == ["apple pie", "中 国 人"]
    before = describe_segmenters(spec)
    file.write_text("London\n")
    assert describe_segmenters(spec) != before
    file.write_text("London\tplace\n")
    with pytest.raises(DataError, match=r"list\.txt:1: 'place'"):
        make_segmenters(spec, tokenizer, None)
    file.write_text("\n")
    with pytest.raises(DataError, match="no entries"):
        make_segmenters(spec, tokenizer, None)
    with pytest.raises(DataError, match="cannot read the gazetteer"):
        make_segmenters(["gazetteer:/nowhere/at/all"], tokenizer, None)


def test_jieba(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jieba", reason="jieba is optional")
    text = ["中国人民银行很大,大 I eat 中国, 豈\U00020001", "银行"]
    found = units(tokenizer, text, ["jieba"], F.IN_PHRASE, F.PHRASE_CONT)
    words = ["中国人民银行", "很大", "中国", "银行"]  # as jieba's own dictionary has them
    assert found == [" ".join(word) for word in words]
    with pytest.raises(DataError, match="every Chinese character"):
        make_segmenters(["jieba"], WordPieceTokenizer(tokenizer.vocab, tokenize_chinese_chars=False), None)
    real = builtins.__import__

    def without_jieba(name: str, *rest: Any, **more: Any) -> Any:
        if name == "jieba":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_jieba)
    with pytest.raises(DataError, match="pip install"):
        make_segmenters(["jieba"], tokenizer, None)


def test_unknown_segmenters(tokenizer: Tokenizer) -> None:
    assert make_segmenters(["word"], tokenizer, None) == []
    for spec in ("capital", "capitals:x", "gazetteer", "phrases:9", "jieba:"[:5] + ":x"):
        with pytest.raises(DataError, match=f"segmenter '{spec}'"):
            make_segmenters([spec], tokenizer, Path("unused"))


def test_phrases_from_counting_to_flags(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fill = [word for word in WORDS[:20] if word not in ("##n", "##ite", "new", "york", "city", "bank")]
    texts = []
    for number in range(900):
        words = rng.choice(fill, 6).tolist()
        words.insert(3, ["New York City", "bank", "Bank , England"][number % 3])
        texts.append(" ".join(words))
    counter = PhraseCounter(tokenizer)
    for begin in range(0, 900, 100):
        part = texts[begin : begin + 100]
        counter.add(SentenceWords.of(tokenizer.encode_batch(part), part))
    file = tmp_path / "phrases.tsv"
    counter.write(file)
    rows = [line.split("\t") for line in file.read_text().splitlines()[1:]]
    assert {row[4] for row in rows[:2]} == {"new york", "york city"}
    assert next(row for row in rows if row[0] == "3")[4] == "new york city"
    assert all("," not in row[4] for row in rows)
    found = units(tokenizer, ", New York City , New York", ["phrases"], F.IN_PHRASE, F.PHRASE_CONT, phrases=file)
    assert found == ["new york city", "new york"]
    file.write_text("header\n2\t3\n")
    with pytest.raises(DataError, match=r"phrases\.tsv:2: damaged"):
        make_segmenters(["phrases"], tokenizer, file)


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=5),
    bigrams=st.sets(st.tuples(*[st.integers(0, 4)] * 2), max_size=12),
    trigrams=st.sets(st.tuples(*[st.integers(0, 4)] * 3), max_size=20),
)
def test_greedy_spans_equal_a_search_word_by_word(
    lines: list[list[int]], bigrams: set[tuple[int, ...]], trigrams: set[tuple[int, ...]]
) -> None:
    expected = []
    offset = 0
    for line in lines:
        place = 0
        while place < len(line):
            length = 1
            for order, table in ((3, trigrams), (2, bigrams)):
                if tuple(line[place : place + order]) in table:
                    length = order
                    break
            if length > 1:
                expected.append((offset + place, length))
            place += length
        offset += len(line)
    keys = np.array([word for line in lines for word in line], dtype=np.uint64)
    tables = [np.array(sorted(grams), dtype=np.uint64).reshape(-1, n) for n, grams in ((2, bigrams), (3, trigrams))]
    found = greedy_spans(keys, np.cumsum([0, *map(len, lines)]), *map(span_keys, tables))
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), max_size=6), max_size=5), st.integers(0, 2**32))
def test_mark_equals_marking_one_span_after_the_other(shape: list[list[int]], seed: int) -> None:
    random = Random(seed)
    lengths = [pieces for sentence in shape for pieces in sentence]
    flags = np.array([F.WORD_START if i == 0 else 0 for n in lengths for i in range(n)], dtype=np.uint8)
    sentences = SentenceWords(
        np.zeros(len(flags), np.int32), flags, np.cumsum([0, *map(sum, shape)]), [""] * len(shape)
    )
    ends = np.cumsum([0, *map(len, shape)]).tolist()
    found, expected = [], flags.copy()
    word_ends = np.cumsum([0, *lengths]).tolist()
    taken: dict[str, set[int]] = {"phrase": set(), "entity": set()}
    for level in ("phrase", "entity", "phrase"):
        spans = []
        for begin, end in pairwise(ends):
            place = begin
            while place < end:
                length = random.randint(1, end - place)
                if random.random() < 0.5:
                    spans.append((place, length))
                place += length
        found.append(Spans(level, np.array([s for s, _ in spans], np.int64), np.array([n for _, n in spans], np.int64)))
        free = [(s, n) for s, n in spans if not taken[level] & set(range(s, s + n))]
        for start, n in free:
            taken[level] |= set(range(start, start + n))
            inside, cont = (F.IN_PHRASE, F.PHRASE_CONT) if level == "phrase" else (F.IN_ENTITY, F.ENTITY_CONT)
            expected[word_ends[start] : word_ends[start + n]] |= inside
            expected[word_ends[start + 1] : word_ends[start + n]] |= cont
    np.testing.assert_array_equal(mark(sentences, found), expected)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=8))
def test_word_keys(words: list[list[int]]) -> None:
    flags = np.array([int(i == 0) for word in words for i in range(len(word))], dtype=np.uint8)
    ids = np.array([i for word in words for i in word], dtype=np.int32)
    batch = TokenBatch(ids, flags, np.array([0, len(ids)]))
    keys = SentenceWords.of(batch, [""]).keys
    np.testing.assert_array_equal(keys, word_keys(words))
    for a, key_a in zip(words, keys.tolist(), strict=True):
        for b, key_b in zip(words, keys.tolist(), strict=True):
            assert (a == b) == (key_a == key_b)
    pairs = ngram_keys(keys, 2).tolist()
    assert len(set(pairs)) == len({(tuple(a), tuple(b)) for a, b in pairwise(words)})
