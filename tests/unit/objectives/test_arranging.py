"""NSP and sentence reordering against a slow reading of their definitions."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_corpora import Documents, documents, in_memory, parts_of, rows

from ernie_paddle.objectives import nsp, sentence_reordering
from ernie_paddle.objectives.registry import make_objective
from ernie_paddle.objectives.sentence_reordering import class_numbers, n_classes


def test_class_numbering_is_that_of_the_golden_file(shared_data: Path) -> None:
    golden = json.loads((shared_data / "golden/models/labels/sentence_reordering.json").read_text())
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


@settings(max_examples=80, deadline=None)
@given(documents(), st.integers(0, 3), st.sampled_from([16, 24, 64]))
def test_nsp(docs: Documents, seed: int, room: int) -> None:
    objective = make_objective("nsp")
    data = in_memory(docs, max_length=room, overhead=3)
    text = docs.sentences()
    document_of = {token: d for d, doc in enumerate(text) for sentence in doc for token in sentence}
    after = {doc[i][-1]: doc[i + 1][0] for doc in text for i in range(len(doc) - 1)}
    drawn = rows(data, room, seed=seed, epochs=2)
    notes = 0
    for row in drawn:
        (example,) = objective.arrange(row)
        assert len(example.ids) <= room
        parts = parts_of(example, data.vocab)
        whole = tuple(row.sample.tokens.tolist())
        bounds = row.sample.sentence_offsets.tolist()
        if len(bounds) == 2:
            assert example.labels == {}
            assert parts == [whole]
            notes += 1
            continue
        first, second = parts
        assert len(first) in bounds[1:-1]
        assert first == whole[: len(first)]
        if example.labels[nsp.LABELS] == nsp.NEXT:
            assert first + second == whole
            assert after[first[-1]] == second[0]
            continue
        assert {document_of[token] for token in second}.isdisjoint({document_of[first[0]]})
        # Consecutive sentences of one sample of another document: those that fit and come nearest to the length of the
        # true second part, or a piece of one.
        other = next(s for s in map(data.sources[0].sample, range(len(data.sources[0]))) if second[0] in s.tokens)
        offsets = other.sentence_offsets.tolist()
        start = other.tokens.tolist().index(second[0])
        assert start in offsets[:-1]
        space = room - 3 - len(first)
        ends = [end for end in offsets if start < end <= start + space] or [start + space]
        wanted = len(whole) - len(first)
        nearest = min(ends, key=lambda end: (abs(end - start - wanted), end))
        assert second == tuple(other.tokens[start:nearest].tolist())
    if len(docs.lengths) == 1:
        assert not any(o.labels.get(nsp.LABELS) == nsp.RANDOM for row in drawn for o in objective.arrange(row))
    else:
        assert all("no other document" not in reason for reason in drawn[0].skipped.counts) or len(docs.lengths) < 4
    single = "nsp: a sample of one sentence has no A and B, left without a label"
    assert drawn[0].skipped.counts.get(single, 0) in (notes, 2 * notes)


def test_nsp_takes_another_document_half_of_the_time() -> None:
    docs = Documents([[2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2]], 0)
    data = in_memory(docs, max_length=16, overhead=3)
    for rate in (0.5, 0.2):
        objective = make_objective("nsp", {"random_rate": rate})
        drawn = rows(data, 16, epochs=1000)
        labels = [objective.arrange(row)[0].labels[nsp.LABELS] for row in drawn]
        # With probability 4**-16 or so per row no other document is found.
        assert abs(np.mean(labels) - rate) < 4 * np.sqrt(rate * (1 - rate) / len(labels))
        assert drawn[0].skipped.total == 0


def test_nsp_in_a_corpus_of_one_document_counts_what_it_cannot_do() -> None:
    """Every draw fails, so every label is "next", none is wrong, and about half of the rows are counted."""
    data = in_memory(Documents([[3] * 40], 0), max_length=16, overhead=3)
    drawn = rows(data, 16, epochs=20)
    objective = make_objective("nsp")
    assert {objective.arrange(row)[0].labels[nsp.LABELS] for row in drawn} == {nsp.NEXT}
    counted = drawn[0].skipped.counts["nsp: no other document found, the true next text kept"]
    assert abs(counted - len(drawn) / 2) < 4 * np.sqrt(len(drawn) / 4)
