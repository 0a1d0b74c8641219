"""A tiny model learns the word-aware objectives, on documents that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.objective_learning import Documents, learn, planted_corpus
from reader.prepare.statistics import make_statistics

TOPICS, RARE = 16, 150


def _documents(seed: int, n: int) -> Documents:
    """Four sentences each; a third of the words are of four that all texts have, a third is the document's topic, one
    word, and a third are of 150 rare ones, which seldom occur twice in a document.
    """
    rng = np.random.default_rng(seed)
    made = []
    for topic in rng.integers(TOPICS, size=n):
        kinds = rng.integers(3, size=(4, 14))
        common, rare = rng.integers(4, size=kinds.shape), rng.integers(RARE, size=kinds.shape)
        made.append(np.select([kinds == 0, kinds == 1], [common, 4 + topic], 4 + TOPICS + rare).tolist())
    return made


def test_token_document_frequencies_and_length(tmp_path: Path) -> None:
    """Words tell most of each: what a token's document has elsewhere (the larger class is 2/3), how often (the topic
    10, the others near 0), how often for so common a word (the same), and how long it is (3 to 9: variance 4).
    """
    pieces = [f"{'a' * (word % 7)}{word:03d}" for word in range(4 + TOPICS + RARE)]
    path = planted_corpus(tmp_path, _documents(0, 200), _documents(1, 60), pieces=pieces)
    make_statistics(path)
    objectives = {"token_document": {}, "tf": {}, "tf_idf": {}, "token_length": {"weight": 0.5}}
    before, after = learn(path, objectives, steps=90)
    assert before["token_document_accuracy"] < 0.75
    assert after["token_document_accuracy"] > 0.85
    # Always saying the mean would leave the variance: above 10 for both frequencies.
    for name, least, most in (("tf", 15, 2.5), ("tf_idf", 15, 2.5), ("token_length", 15, 1.5)):
        assert before[name] > least, name
        assert after[name] < most, name


def test_sbo(tmp_path: Path) -> None:
    """Text that counts: a masked word is the one after its left neighbour. Chance is 1/16."""

    def counting(seed: int) -> Documents:
        starts = np.random.default_rng(seed).integers(16, size=200)
        return [[[(start + i) % 16 for i in range(12)]] for start in starts.tolist()]

    path = planted_corpus(tmp_path, counting(0), counting(1))
    before, after = learn(path, {"sbo": {"mask": 1.0, "random": 0.0}}, steps=90)
    assert before["sbo_accuracy"] < 0.2
    assert after["sbo_accuracy"] > 0.8
