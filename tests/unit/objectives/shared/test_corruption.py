"""The objectives that corrupt text against a slow reading of their definitions.

The tokens of a document count up, so that a test sees what became of them: the rows of a task that corrupts nothing
are the ones before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_paddle.objectives.registry import make_objective
from ernie_paddle.objectives.rows import Batch, Data
from ernie_paddle.objectives.shared.corruption import INSERTED, PERMUTED, REPLACED
from ernie_paddle.objectives.trigram_shuffling import disjoint
from helpers.objective_corpora import FIRST, Documents, documents, in_memory, make_vocab, step_reader
from propeller.errors import UserError
from propeller.values import Arrays
from reader.corpora.corpus import Corpus
from reader.corpora.samples import SampleIndex
from reader.flags import CAPITAL, WORD_START
from reader.report import SkipReport

TCP, SCP, TGS = "token_corruption", "sentence_corruption", "trigram_shuffling"
NOTE = "corruption: a row of too few different tokens, left as it is"


def _texts(max_length: int = 9) -> st.SearchStrategy[Documents]:
    return documents(max_length=max_length).filter(lambda docs: docs.n_tokens > 1)


def _repeating(docs: Documents, words: int, max_length: int) -> Data:
    """Documents of few words, drawn at random."""
    tokens = np.random.default_rng(docs.seed).integers(FIRST, FIRST + words, docs.n_tokens)
    corpus = Corpus(Path("in-memory"), "train", {"languages": []}, [docs.shard(tokens.tolist())])
    return Data(make_vocab(FIRST + max(words, 2)), [SampleIndex(corpus, max_length - 3)], ["in-memory"], max_length)


def _steps(data: Data, names: Sequence[str], seed: int = 0, **chosen: Any) -> tuple[list[Arrays], SkipReport]:
    """A pass over the data, of pairs in random order as sentence_ordering makes them."""
    objectives = {name: chosen.get(name, {}) for name in ("sentence_ordering", *names)}
    reader = step_reader(data, objectives, overhead=3, seed=seed)
    report, feeds = SkipReport(), []
    for number in range(reader.plan.batches_per_epoch):
        step = reader.step(number)
        report.merge(step.skipped)
        feeds += step.micro_batches
    return feeds, report


def _runs(row: list[int], data: Data, taken: set[int]) -> list[list[int]]:
    """Places of the runs of tokens of a row which are not special and not taken."""
    runs: list[list[int]] = [[]]
    for t, token in enumerate(row):
        if token in data.vocab.special_ids or t in taken:
            runs.append([])
        else:
            runs[-1].append(t)
    return [run for run in runs if run]


def _kind(old: list[int], new: list[int], changed: set[int], runs: list[list[int]]) -> set[int]:
    """Which ways of corrupting make ``new`` of ``old`` with the changed places as labelled."""
    free = [t for run in runs for t in run]
    count = max(2, int(np.rint(len(free) / 10)))
    assert all(new[t] == old[t] for t in range(len(old)) if t not in free)
    kinds = set()
    if len(changed) == count:
        if all((new[t] != old[t]) == (t in changed) for t in free):
            kinds.add(REPLACED)
        if all(new[t] != old[t] for t in changed) and all(
            [new[t] for t in run if t not in changed] == [old[t] for t in run][: sum(t not in changed for t in run)]
            for run in runs
        ):
            kinds.add(INSERTED)
    # Pairs at even places, or at odd ones: as many as wanted, or all that there are.
    for parity in (0, 1):
        places = [t for run in runs for t in run[:-1] if t % 2 == parity and old[t] != old[t + 1]]
        pairs = [t for t in places if t in changed]
        if changed != {t + i for t in pairs for i in (0, 1)} or len(pairs) != min(count // 2, len(places)):
            continue
        swapped = list(old)
        for t in pairs:
            swapped[t], swapped[t + 1] = old[t + 1], old[t]
        if swapped == new:
            kinds.add(PERMUTED)
    return kinds


def _pairs(before: list[Arrays], after: list[Arrays]) -> Iterator[tuple[list[int], list[int], dict[str, Any]]]:
    """Every row without and with corruption, and its labels."""
    for old_feeds, feeds in zip(before, after, strict=True):
        for b in range(len(feeds["input_ids"])):
            labels = {name: feeds[name][b] for name in feeds if name.endswith("_labels") and "mlm" not in name}
            yield old_feeds["input_ids"][b].tolist(), feeds["input_ids"][b].tolist(), labels


@settings(max_examples=25, deadline=None)
@given(_texts(), st.integers(0, 3), st.permutations([TCP, SCP]), st.booleans())
def test_rows_are_corrupted_in_one_of_three_ways(docs: Documents, seed: int, names: list[str], few: bool) -> None:
    """Both objectives speak of the same corruption, and truly, also where most tokens are equal."""
    data = _repeating(docs, 3, 40) if few else in_memory(docs, max_length=40, overhead=3)
    (before, _), (after, _) = _steps(data, [], seed), _steps(data, names, seed)
    for old, new, labels in _pairs(before, after):
        of_tokens = labels["token_corruption_labels"]
        assert all((of_tokens[t] == -100) == (new[t] in data.vocab.special_ids) for t in range(len(new)))
        changed = set(np.flatnonzero(of_tokens == 1).tolist())
        assert labels["sentence_corruption_labels"] == bool(changed) == (old != new)
        if changed:
            assert _kind(old, new, changed, _runs(old, data, set()))


@settings(max_examples=25, deadline=None)
@given(_texts(), st.integers(0, 3))
def test_corruption_beside_shuffled_trigrams(docs: Documents, seed: int) -> None:
    """Trigrams that were shuffled before stay as they are, and count as corrupted unless they came out in order."""
    data = in_memory(docs, max_length=40, overhead=3)
    plain, _ = _steps(data, [], seed)
    (before, _), (after, _) = _steps(data, [TGS], seed), _steps(data, [TGS, SCP, TCP], seed)
    originals = [row for feeds in plain for row in feeds["input_ids"].tolist()]
    for original, (old, new, labels) in zip(originals, _pairs(before, after), strict=True):
        assert labels["sentence_corruption_labels"] == (original != new)
        ends = np.flatnonzero(labels["trigram_shuffling_labels"] >= 0).tolist()
        shuffled = {t - i for t in ends for i in range(3)}
        assert all(old[t] == new[t] for t in shuffled)
        changed = set(np.flatnonzero(labels["token_corruption_labels"] == 1).tolist())
        assert changed & shuffled == {t for t in shuffled if original[t] != new[t]}
        if changed - shuffled:
            assert _kind(old, new, changed - shuffled, _runs(old, data, shuffled))


@settings(max_examples=25, deadline=None)
@given(_texts(16), st.integers(0, 3), st.booleans(), st.booleans())
def test_shuffled_trigrams(docs: Documents, seed: int, first: bool, alone: bool) -> None:
    """Undoing the order that a label names gives three tokens that count up: before, after and without others."""
    data = in_memory(docs, max_length=40, overhead=3)
    names = [TGS] if alone else [TGS, TCP] if first else [TCP, TGS]
    after, _ = _steps(data, names, seed, trigram_shuffling={"rate": 0.3})
    before, _ = _steps(data, [] if alone else [TCP], seed)
    orders = list(permutations(range(3)))
    for old_feeds, feeds in zip(before, after, strict=True):
        for b, new in enumerate(feeds["input_ids"].tolist()):
            labels = feeds["trigram_shuffling_labels"][b]
            restored, moved = list(new), set()
            for t in np.flatnonzero(labels != -100).tolist():
                order = orders[labels[t]]
                original = [0, 0, 0]
                for place, number in enumerate(order):
                    original[number] = new[t - 2 + place]
                    if place != number:
                        moved.add(t - 2 + place)
                assert original == list(range(original[0], original[0] + 3))
                restored[t - 2 : t + 1] = original
            if alone:
                assert restored == old_feeds["input_ids"][b].tolist()
            else:
                # What is corrupted for one is true of the other's tokens too.
                corrupted = set(np.flatnonzero(feeds["token_corruption_labels"][b] == 1).tolist())
                assert moved <= corrupted
                if not first:
                    assert restored == old_feeds["input_ids"][b].tolist()
                    own = set(np.flatnonzero(old_feeds["token_corruption_labels"][b] == 1).tolist())
                    assert corrupted == own | moved


@settings(max_examples=20, deadline=None)
@given(_texts(), st.integers(0, 3), st.permutations([TCP, TGS]))
def test_the_batch_that_others_label(docs: Documents, seed: int, names: list[str]) -> None:
    """Before anyone masks: originals are the tokens, what was chosen is marked, and trigrams have different tokens."""
    data = _repeating(docs, 4, 40)
    plain, _ = _steps(data, [], seed)
    reader = step_reader(data, {"sentence_ordering": {}, **{name: {} for name in names}}, overhead=3, seed=seed)
    batches: list[Batch] = []
    label = reader.objectives[0].label
    reader.objectives[0].label = lambda batch: batches.append(batch) or label(batch)  # type: ignore[method-assign,func-returns-value]
    for number, feeds in enumerate(plain):
        labels = reader.step(number).micro_batches[0]
        batch = batches[-1]
        assert np.array_equal(batch.ids, batch.original)
        assert np.array_equal(batch.documents >= 0, batch.tokens)
        ends = labels["trigram_shuffling_labels"] >= 0
        chosen = (labels["token_corruption_labels"] == 1) | ends
        for b, t in np.argwhere(ends):
            assert len(set(batch.ids[b, t - 2 : t + 1].tolist())) == 3
            chosen[b, t - 2 : t + 1] = True
        assert np.array_equal(batch.corrupted, chosen)
        for b, (old, new) in enumerate(zip(feeds["input_ids"].tolist(), batch.ids.tolist(), strict=True)):
            changed = set(np.flatnonzero(labels["token_corruption_labels"][b] == 1).tolist())
            if not ends[b].any() and _kind(old, new, changed, _runs(old, data, set())) == {INSERTED}:
                assert {int(batch.flags[b, t]) for t in changed} == {WORD_START}


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 5))
def test_the_walk_over_trigrams(starts: list[bool], more: int) -> None:
    rows = [starts, starts[::-1], [True] * len(starts), [False] * len(starts)]
    expected = []
    for row in rows:
        taken, reach = [], 0
        for t, start in enumerate(row):
            taken.append(start and t >= reach)
            if taken[-1]:
                reach = t + 3
        expected.append(taken)
    assert disjoint(np.array(rows)).tolist() == expected


@settings(max_examples=20, deadline=None)
@given(_texts(), st.integers(0, 3), st.sampled_from([[TCP], [TGS], [TGS, TCP], [SCP, TGS]]))
def test_others_see_moved_tokens_and_masking_leaves_them(docs: Documents, seed: int, names: list[str]) -> None:
    data = in_memory(docs, max_length=40, overhead=3)
    plain, _ = _steps(data, [*names, "capitalization"], seed)
    masked, _ = _steps(data, [*names, "capitalization", "mlm"], seed)
    shard = docs.shard()
    flags = dict(zip(shard.tokens.tolist(), shard.flags.tolist(), strict=True))
    untouched, _ = _steps(data, [], seed)
    for old_feeds, feeds, more in zip(untouched, plain, masked, strict=True):
        # Masking first would change nothing, and it masks nothing that is corrupted.
        restored = more["input_ids"].copy()
        here = more["mlm_labels"] != -100
        positions = more["mlm_positions"][here]
        restored.reshape(-1)[positions] = more["mlm_labels"][here]
        assert np.array_equal(restored, feeds["input_ids"])
        assert all(np.array_equal(more[name], feeds[name]) for name in feeds if name != "input_ids")
        for name in (TCP, TGS):
            if name in names:
                labels = feeds[f"{name}_labels"]
                chosen = labels == 1 if name == TCP else labels != -100
                assert not chosen.reshape(-1)[positions].any()
        # A moved token has the flags that it had; one that replaced or pushed away others has theirs, or none.
        for (b, t), token in np.ndenumerate(feeds["input_ids"]):
            label = feeds["capitalization_labels"][b, t]
            if token in data.vocab.special_ids:
                assert label == -100
            elif TCP in names and feeds["token_corruption_labels"][b, t] == 1:
                there = [flags.get(int(token)), flags.get(int(old_feeds["input_ids"][b, t])), 0]
                assert label in {int(bool(flag & CAPITAL)) for flag in there if flag is not None}
            elif names == [TGS] or TCP in names:
                assert label == bool(flags[int(token)] & CAPITAL)


def test_shares() -> None:
    """Half of the rows, a third each way; a trigram in twenty begins a shuffled one where none reaches; 6 classes."""
    data = in_memory(Documents([[30]] * 1800, 0), max_length=33, overhead=3)
    before, _ = _steps(data, [])
    after, report = _steps(data, [TCP])
    kinds: Counter[int] = Counter()
    for old_feeds, feeds in zip(before, after, strict=True):
        for b, (old, new) in enumerate(zip(old_feeds["input_ids"].tolist(), feeds["input_ids"].tolist(), strict=True)):
            changed = set(np.flatnonzero(feeds["token_corruption_labels"][b] == 1).tolist())
            if changed:
                found = _kind(old, new, changed, _runs(old, data, set()))
                kinds[found.pop() if len(found) == 1 else -1] += 1
    assert NOTE not in report.counts
    assert kinds[-1] < 0.05 * kinds.total()  # insertions at the very end
    assert abs(kinds.total() - 900) < 4 * np.sqrt(450)
    for kind in (PERMUTED, REPLACED, INSERTED):
        assert abs(kinds[kind] - 300) < 4 * np.sqrt(1800 * 5 / 36) + kinds[-1]
    labels = np.concatenate([feeds["trigram_shuffling_labels"].reshape(-1) for feeds in _steps(data, [TGS])[0]])
    counts = np.bincount(labels[labels >= 0], minlength=6)
    # The walk, with probability p(t) that a trigram begins at t.
    begins = np.zeros(28)
    for t in range(28):
        begins[t] = 0.05 * (1 - begins[max(t - 2, 0) : t].sum())
    expected = 1800 * begins.sum()
    assert abs(counts.sum() - expected) < 4 * np.sqrt(expected)
    assert (abs(counts - expected / 6) < 4 * np.sqrt(expected / 6)).all()


def test_rows_that_cannot_be_corrupted_are_counted() -> None:
    """A third of the rows to be corrupted would have equal tokens permuted; rows of one token cannot be at all."""
    feeds, report = _steps(_repeating(Documents([[8]] * 600, 0), 1, 16), [SCP, TCP])
    labels = np.concatenate([f["sentence_corruption_labels"] for f in feeds])
    assert abs(report.counts[NOTE] - 100) < 4 * np.sqrt(600 * 5 / 36)
    assert abs(labels.sum() - 200) < 4 * np.sqrt(600 * 2 / 9)
    feeds, report = _steps(_repeating(Documents([[1]] * 60, 0), 4, 16), [SCP, TCP])
    assert not any(f["sentence_corruption_labels"].any() for f in feeds)
    assert 0 < report.counts[NOTE] < 60


def test_mistakes() -> None:
    for rate in (0.0, 1.5):
        with pytest.raises(UserError, match="rate must lie above 0"):
            make_objective(TGS, {"rate": rate})
    data = in_memory(Documents([[1]], 0), max_length=8, overhead=2)
    with pytest.raises(UserError, match="the vocabulary has 1 ordinary pieces, two are needed"):
        make_objective(SCP).with_data(data)
