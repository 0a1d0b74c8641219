"""A tiny model learns the objectives on labelled pairs, on pairs that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.objective_learning import learn
from reader.prepare.pair_parts import PairColumns
from reader.prepare.pairs import prepare_pairs
from reader.tokenizers.vocab import SPECIALS, Vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer


def _prepared(folder: Path, pairs: Sequence[tuple[Sequence[int], Sequence[int], str]]) -> str:
    """A corpus of pairs of word numbers; a quarter of the rows is held out, whatever their first text."""
    words = 1 + max(word for a, b, _ in pairs for word in (*a, *b))
    lines = ["a\tb\tlabel\trow"]
    for number, (a, b, label) in enumerate(pairs):
        texts = (" ".join(f"w{word}" for word in text) for text in (a, b))
        lines.append("\t".join((*texts, label, str(number))))
    table = folder / "pairs.tsv"
    table.write_text("\n".join(lines) + "\n")
    tokenizer = WordPieceTokenizer(Vocab([*SPECIALS, *(f"w{i}" for i in range(words))], "planted"), lowercase=True)
    prepare_pairs([table], folder / "corpus", tokenizer, PairColumns("a", "b", "label", group="row"), heldout=0.25)
    return str(folder / "corpus")


def test_discourse_relation(tmp_path: Path) -> None:
    """One of the second text's four words is of three that go with the relation. Chance is 1/3."""
    rng = np.random.default_rng(0)
    pairs = []
    for relation in rng.integers(3, size=400).tolist():
        a, b = rng.integers(9, 30, size=(2, 4))
        b[rng.integers(4)] = 3 * relation + rng.integers(3)
        pairs.append((a.tolist(), b.tolist(), ("because", "but", "so")[relation]))
    before, after = learn(_prepared(tmp_path, pairs), {"discourse_relation": {}}, steps=60)
    assert before["discourse_relation_accuracy"] < 0.5
    assert after["discourse_relation_accuracy"] > 0.9


def test_ir_relevance(tmp_path: Path) -> None:
    """Two queries, one of them in nine rows of ten: its titles say whether they are strong or weak, those drawn for it
    are of the other one. The table has no other class, so without them 2/3 is most, and chance is 1/3.
    """
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(600):
        weak, other = int(rng.random() < 0.5), number % 10 == 0
        title = rng.integers(4, size=3) + (10 if other else 2 + 4 * weak)
        pairs.append(([int(other)], title.tolist(), ("strong", "weak")[weak]))
    before, after = learn(_prepared(tmp_path, pairs), {"ir_relevance": {}}, steps=60)
    assert before["ir_relevance_accuracy"] < 0.5
    assert after["ir_relevance_accuracy"] > 0.8
