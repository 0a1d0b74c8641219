"""Sentence reordering against a slow reading of its definition."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_paddle.objectives import sentence_reordering
from ernie_paddle.objectives.registry import make_objective
from ernie_paddle.objectives.sentence_reordering import class_numbers, n_classes
from helpers.objective_corpora import Documents, documents, in_memory, parts_of, rows


def test_class_numbering_is_that_of_the_golden_file(test_data: Path) -> None:
    golden = json.loads((test_data / "golden/models/labels/sentence_reordering.json").read_text())
    assert {m: n_classes(int(m)) for m in golden["k"]} == golden["k"]
    assert class_numbers(4) == {tuple(c["presented_order"]): c["class"] for c in golden["classes"]}


@settings(max_examples=80, deadline=None)
@given(documents(), st.integers(2, 4), st.integers(0, 3))
def test_sentence_reordering(docs: Documents, m: int, seed: int) -> None:
    """Undoing the permutation that the class stands for gives the sample back, cut at sentence boundaries."""
    objective = make_objective("sentence_reordering", {"max_segments": m})
    data = in_memory(docs, max_length=32, overhead=1 + m)
    # The classes, counted up as the definition says: by number of segments, then in lexicographic order.
    meanings = [order for n in range(1, m + 1) for order in itertools.permutations(range(n))]
    drawn = rows(data, 32, seed=seed)
    for row in drawn:
        (example,) = objective.arrange(row)
        assert len(example.ids) <= row.room
        parts = parts_of(example, data.vocab)
        order = meanings[int(example.labels[sentence_reordering.LABELS])]
        assert len(parts) == len(order) <= m
        original = [part for _, part in sorted(zip(order, parts, strict=True))]
        assert tuple(itertools.chain(*original)) == tuple(row.sample.tokens.tolist())
        ends = set(np.cumsum([len(part) for part in original]).tolist())
        assert ends <= set(row.sample.sentence_offsets.tolist())
        # Flags travel with their tokens (all tokens differ).
        flags = dict(zip(row.sample.tokens.tolist(), row.sample.flags.tolist(), strict=True))
        for token, flag, special in zip(example.ids.tolist(), example.flags.tolist(), example.special, strict=True):
            assert flag == (0 if special else flags[token])
    alone = sum(len(row.sample.sentence_offsets) == 2 for row in drawn)
    assert drawn[0].skipped.total == alone


def test_reordering_draws_uniformly() -> None:
    """n is uniform in 1..4, permutations and cuts are uniform: counted over 6,000 epochs of one document of five."""
    objective = make_objective("sentence_reordering")
    data = in_memory(Documents([[1, 1, 1, 1, 1]], 0), max_length=16, overhead=5)
    classes: Counter[int] = Counter()
    cuts: Counter[int] = Counter()
    for row in rows(data, 16, epochs=6000):
        (example,) = objective.arrange(row)
        label = int(example.labels[sentence_reordering.LABELS])
        classes[label] += 1
        if label == 1:  # two segments in order: where was it cut?
            cuts[len(parts_of(example, data.vocab)[0])] += 1
    for order, label in class_numbers(4).items():
        expected = 6000 / 4 / len([o for o in class_numbers(4) if len(o) == len(order)])
        assert abs(classes[label] - expected) < 4.5 * np.sqrt(expected)
    assert set(cuts) == {1, 2, 3, 4}
    assert all(abs(count - cuts.total() / 4) < 4.5 * np.sqrt(cuts.total() / 4) for count in cuts.values())
