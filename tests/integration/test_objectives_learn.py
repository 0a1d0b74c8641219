"""A tiny model learns every objective that was there first, on documents that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.objective_learning import Documents, learn, planted_corpus
from reader.flags import CAPITAL, PHRASE_CONT, WORD_START


def _counting(seed: int, words: int, length: int, sentences: int = 1, n: int = 200) -> Documents:
    """Sentences that count upwards from a random word, modulo `words`."""
    starts = np.random.default_rng(seed).integers(words, size=(n, sentences))
    return [[[(start + i) % words for i in range(length)] for start in row] for row in starts.tolist()]


def test_mlm(tmp_path: Path) -> None:
    """Text that counts: a masked word is the one after its left neighbour. Chance is 1/16."""
    path = planted_corpus(tmp_path, _counting(0, 16, 12), _counting(1, 16, 12))
    before, after = learn(path, {"mlm": {"rate": 0.3, "mask": 1.0, "random": 0.0}}, steps=140, layers=2)
    assert before["mlm_accuracy"] < 0.2
    assert after["mlm_accuracy"] > 0.7


def test_knowledge_masking(tmp_path: Path) -> None:
    """Phrases of two words, masked whole; the phrase before tells both. Chance is 1/16."""
    path = planted_corpus(
        tmp_path,
        _counting(0, 16, 12),
        _counting(1, 16, 12),
        flags=lambda word: WORD_START | (PHRASE_CONT if word % 2 else 0),
    )
    settings = {"basic": 0.0, "phrase": 1.0, "entity": 0.0, "rate": 0.3, "mask": 1.0, "random": 0.0}
    before, after = learn(path, {"knowledge_masking": settings}, steps=130, layers=2)
    assert before["mlm_accuracy"] < 0.2
    assert after["mlm_accuracy"] > 0.45


def test_multi_flow(tmp_path: Path) -> None:
    """In a text that counts on, the word before tells the next, which only the word-by-word flow sees within a pair.

    Each even word forms a phrase with the next. Chance is 1/16.
    """
    path = planted_corpus(
        tmp_path,
        _counting(0, 40, 12),
        _counting(1, 40, 12),
        flags=lambda word: WORD_START | (PHRASE_CONT if word % 2 else 0),
    )
    before, after = learn(path, {"multi_flow": {"noise": 0.0}}, steps=150)
    assert before["multi_flow_word_accuracy"] < 0.2
    assert before["multi_flow_span_accuracy"] < 0.2
    assert after["multi_flow_word_accuracy"] > 0.45
    assert after["multi_flow_word_accuracy"] > after["multi_flow_span_accuracy"] + 0.03


def test_capitalization(tmp_path: Path) -> None:
    """Every third word of the vocabulary is capitalized: the larger class is 2/3, words are enough for 1."""
    path = planted_corpus(
        tmp_path,
        _counting(0, 30, 12),
        _counting(1, 30, 12),
        flags=lambda word: WORD_START | (CAPITAL if word % 3 == 0 else 0),
    )
    before, after = learn(path, {"capitalization": {}}, steps=40)
    assert before["capitalization_accuracy"] < 0.8
    assert after["capitalization_accuracy"] > 0.98


def test_nsp(tmp_path: Path) -> None:
    """Documents of two languages without a common word: a random pair is of both. Chance is 1/2."""

    def documents(seed: int) -> Documents:
        rng = np.random.default_rng(seed)
        return [(4 * (d % 2) + rng.integers(4, size=(60, 2))).tolist() for d in range(2)]

    path = planted_corpus(tmp_path, documents(0), documents(1))
    before, after = learn(path, {"nsp": {}}, steps=110, max_length=20)
    assert before["nsp_accuracy"] < 0.7
    assert after["nsp_accuracy"] > 0.85


def test_sentence_reordering(tmp_path: Path) -> None:
    """The i-th sentence of a document is one of three words of its own; up to 3 segments, so 9 classes. The largest is
    1/3, and the number of segments alone gives 10/18.
    """

    def documents(seed: int) -> Documents:
        words = 3 * np.arange(4) + np.random.default_rng(seed).integers(3, size=(100, 4))
        return [[[word] for word in row] for row in words.tolist()]

    path = planted_corpus(tmp_path, documents(0), documents(1))
    before, after = learn(path, {"sentence_reordering": {"max_segments": 3}}, steps=140)
    assert before["sentence_reordering_accuracy"] < 0.5
    assert after["sentence_reordering_accuracy"] > 0.68


def _translations(seed: int, n: int = 200) -> Documents:
    """Two sentences of six words: the first out of two words of 12, the second out of the two's translations."""
    rng = np.random.default_rng(seed)
    first = [rng.choice(rng.choice(12, 2, replace=False), size=6) for _ in range(n)]
    return [[words.tolist(), (12 + rng.permutation(words)).tolist()] for words in first]


def test_quick_thoughts(tmp_path: Path) -> None:
    """A text is continued by its translation, without a common word, among 16 candidates. Chance is 1/16."""
    path = planted_corpus(tmp_path, _translations(0), _translations(1))
    before, after = learn(path, {"quick_thoughts": {"scale": 10.0}}, steps=60, max_length=16, batch_rows=32)
    assert before["quick_thoughts_accuracy"] < 0.3
    assert after["quick_thoughts_accuracy"] > 0.8


def test_fast_sent(tmp_path: Path) -> None:
    """Texts and the words of the texts beside them come together, while mlm still tells words apart (chance: 1/24)."""
    path = planted_corpus(tmp_path, _translations(0), _translations(1))
    before, after = learn(path, {"fast_sent": {}, "mlm": {}}, steps=80, max_length=16, batch_rows=64)
    assert before["fast_sent"] > 0.5
    assert after["fast_sent"] < 0.1
    assert after["mlm_accuracy"] > 0.25
