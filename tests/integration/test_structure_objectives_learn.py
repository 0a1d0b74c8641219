"""A tiny model learns the objectives over pairs and over corrupted text, on documents that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers.objective_learning import Documents, learn, planted_corpus

PIECES = [f"w{i}" for i in range(40)]
"""A vocabulary of which documents that say one word use a tenth."""


def _planted(
    tmp_path: Path, documents: Callable[[np.random.Generator], Documents], pieces: list[str] | None = None
) -> str:
    train, held_out = (documents(np.random.default_rng(seed)) for seed in range(2))
    return planted_corpus(tmp_path, train, held_out, pieces=pieces)


def _languages(sentences: int) -> Callable[[np.random.Generator], Documents]:
    """Documents of one of four languages; the i-th sentence is one of two words of its own in that language."""

    def documents(rng: np.random.Generator) -> Documents:
        languages = rng.integers(4, size=(400, 1))
        words = 2 * (languages * sentences + np.arange(sentences)) + rng.integers(2, size=(400, sentences))
        return [[[word] for word in row] for row in words.tolist()]

    return documents


def _monotonous(rng: np.random.Generator) -> Documents:
    """Documents that say one of four words twelve times: nothing to permute, and most words that come in are others."""
    return [[[word] * 12] for word in rng.integers(4, size=200).tolist()]


def test_sentence_ordering(tmp_path: Path) -> None:
    """The words say their place. Chance is 1/2."""
    before, after = learn(_planted(tmp_path, _languages(4)), {"sentence_ordering": {}}, steps=60)
    assert before["sentence_ordering_accuracy"] < 0.7
    assert after["sentence_ordering_accuracy"] > 0.95


def test_adjacent_sentence(tmp_path: Path) -> None:
    """The words say their place and their document's language, which one other document in four shares. Chance is 1/3,
    and 11/12 can be known at least.
    """
    before, after = learn(_planted(tmp_path, _languages(3)), {"adjacent_sentence": {}}, steps=80)
    assert before["adjacent_sentence_accuracy"] < 0.5
    assert after["adjacent_sentence_accuracy"] > 0.75


def test_sentence_distance(tmp_path: Path) -> None:
    """Of three sentences the first is A, the second adjacent, the third not; any is the B of another document. Chance
    is 1/3, and the place of B alone gives 7/9.
    """
    before, after = learn(_planted(tmp_path, _languages(3)), {"sentence_distance": {}}, steps=100)
    assert before["sentence_distance_accuracy"] < 0.5
    assert after["sentence_distance_accuracy"] > 0.7


def test_sentence_corruption(tmp_path: Path) -> None:
    """A row with a word that no document has is corrupted. Two thirds are not."""
    before, after = learn(_planted(tmp_path, _monotonous, PIECES), {"sentence_corruption": {}}, steps=60)
    assert before["sentence_corruption_accuracy"] < 0.75
    assert after["sentence_corruption_accuracy"] > 0.95


def test_token_corruption(tmp_path: Path) -> None:
    """A word that no document has is corrupted. 17 of 18 tokens are not."""
    before, after = learn(_planted(tmp_path, _monotonous, PIECES), {"token_corruption": {}}, steps=60)
    assert before["token_corruption_accuracy"] < 0.96
    assert after["token_corruption_accuracy"] > 0.985


def test_trigram_shuffling(tmp_path: Path) -> None:
    """The words say their place. Chance is 1/6, and the third token alone gives 1/2."""

    def documents(rng: np.random.Generator) -> Documents:
        return [[row] for row in (2 * np.arange(12) + rng.integers(2, size=(200, 12))).tolist()]

    settings = {"trigram_shuffling": {"rate": 0.3}}
    before, after = learn(_planted(tmp_path, documents), settings, steps=110)
    assert before["trigram_shuffling_accuracy"] < 0.4
    assert after["trigram_shuffling_accuracy"] > 0.65
