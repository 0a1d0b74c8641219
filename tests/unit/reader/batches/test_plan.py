"""Batches of the plan: nothing lost, nothing over the budget, weights kept, and any batch as cheap as any other."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.reader_corpora import corpus_of
from reader.batches import plan as plan_module
from reader.batches.permutation import Permutation
from reader.batches.plan import BatchPlan, BatchRows, shard_rows
from reader.corpora.corpus import Corpus, write_corpus
from reader.corpora.samples import SampleIndex
from reader.errors import DataError

sample_lengths = st.lists(st.integers(1, 60), min_size=1, max_size=80)


def index_of(lengths: Sequence[int], longest: int = 60) -> SampleIndex:
    """An index with samples of just these lengths: each a document of one sentence."""
    index = SampleIndex(corpus_of([[length] for length in lengths]), longest)
    assert index.lengths.tolist() == list(lengths)
    return index


def epoch_of(plan: BatchPlan, epoch: int) -> list[BatchRows]:
    return [plan.batch(epoch * plan.batches_per_epoch + i) for i in range(plan.batches_per_epoch)]


def same(a: BatchRows, b: BatchRows) -> bool:
    return a.max_tokens == b.max_tokens and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("epoch", "corpus", "sample")
    )


@given(sample_lengths, sample_lengths, st.integers(20, 300), st.integers(1, 40), st.integers(0, 3), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_an_epoch_of_weight_one_holds_every_sample_once(
    first: list[int], second: list[int], budget: int, width: int, overhead: int, seed: int
) -> None:
    indexes = [index_of(first), index_of(second)]
    plan = BatchPlan(indexes, batch_tokens=budget, bin_width=width, seed=seed, overhead=overhead)
    everything = Counter((c, k) for c, index in enumerate(indexes) for k in range(len(index)))
    for epoch in (0, 2):
        batches = epoch_of(plan, epoch)
        rows = [
            row for b in batches for row in zip(b.epoch.tolist(), b.corpus.tolist(), b.sample.tolist(), strict=True)
        ]
        assert Counter((c, k) for _, c, k in rows) == everything
        assert {e for e, _, _ in rows} == {epoch}
        for batch in batches:
            assert len(batch) >= 1
            lengths = plan.lengths(batch)
            assert lengths.tolist() == [
                indexes[c].lengths[k] + overhead for c, k in zip(batch.corpus, batch.sample, strict=True)
            ]
            assert lengths.max() <= batch.max_tokens <= 60 + overhead
            assert len(batch) == 1 or len(batch) * batch.max_tokens <= budget


@given(sample_lengths, st.integers(1, 20), st.integers(1, 70))
@settings(max_examples=50, deadline=None)
def test_batches_of_fixed_rows_are_full_but_for_what_a_bin_lacks(lengths: list[int], rows: int, width: int) -> None:
    plan = BatchPlan([index_of(lengths)], batch_rows=rows, bin_width=width)
    by_bin: dict[int, list[int]] = {}
    for batch in epoch_of(plan, 0):
        by_bin.setdefault(batch.max_tokens, []).append(len(batch))
    for sizes in by_bin.values():
        assert len(sizes) == -(-sum(sizes) // rows)  # no more batches than needed
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= rows
    # Bins that could not fill a batch were joined, unless the whole corpus cannot.
    assert len(by_bin) == 1 or min(sum(sizes) for sizes in by_bin.values()) >= rows


@given(
    st.lists(sample_lengths, min_size=1, max_size=3),
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 2.3]), min_size=3, max_size=3),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_weights_set_the_shares_and_no_sample_returns_before_all_others_came(
    lengths: list[list[int]], weights: list[float], seed: int
) -> None:
    weights = [*weights[1 : len(lengths)], 1.0]
    indexes = [index_of(one) for one in lengths]
    plan = BatchPlan(indexes, weights, batch_tokens=200, bin_width=61, seed=seed, overhead=0)  # one bin
    used: list[Counter[int]] = [Counter() for _ in indexes]
    uses: set[tuple[int, int, int]] = set()
    for epoch in range(7):
        before = [counter.total() for counter in used]
        for batch in epoch_of(plan, epoch):
            for e, c, k in zip(batch.epoch.tolist(), batch.corpus.tolist(), batch.sample.tolist(), strict=True):
                assert (e, c, k) not in uses  # so masks of two uses never coincide
                uses.add((e, c, k))
                used[c][k] += 1
        for c, (index, weight) in enumerate(zip(indexes, weights, strict=True)):
            share = max(1, round(weight * len(index))) if weight else 0
            assert used[c].total() - before[c] == share
            counts = [used[c][k] for k in range(len(index))]
            assert max(counts) - min(counts) <= 1
            assert all((e, c, k) in uses for k in range(len(index)) for e in range(counts[k]))


def test_order_changes_with_epoch_and_seed_and_nothing_else() -> None:
    indexes = [index_of([7, 20, 33, 60] * 50)]
    plan, again = (BatchPlan(indexes, batch_tokens=300, bin_width=16, seed=1) for _ in range(2))
    other = BatchPlan(indexes, batch_tokens=300, bin_width=16, seed=2)
    n = plan.batches_per_epoch
    assert n > 20
    backwards = [again.batch(i) for i in reversed(range(2 * n))][::-1]  # no memory: any order of asking
    forwards = [plan.batch(i) for i in range(2 * n)]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not all(np.array_equal(forwards[i].sample, forwards[n + i].sample) for i in range(n))
    assert [b.max_tokens for b in forwards[:n]] != sorted(b.max_tokens for b in forwards[:n])  # bins are mixed
    assert not all(np.array_equal(forwards[i].sample, other.batch(i).sample) for i in range(n))


def test_epochs_mix_corpora_anew_and_passes_reorder_each_corpus() -> None:
    plan = BatchPlan([index_of([30] * 100), index_of([30] * 100)], [1.0, 0.5], batch_rows=10, seed=3)
    batches = [epoch_of(plan, epoch) for epoch in range(4)]
    patterns = [sorted(tuple(b.corpus.tolist()) for b in epoch) for epoch in batches]
    assert patterns[0] != patterns[1]
    # Half of the second corpus per epoch: which half comes first is drawn again for each pass.
    halves = [
        {k for b in epoch for c, k in zip(b.corpus.tolist(), b.sample.tolist(), strict=True) if c} for epoch in batches
    ]
    assert halves[0] | halves[1] == halves[2] | halves[3] == set(range(100))
    assert halves[0] not in (halves[2], halves[3])


def test_a_copy_by_pickle_plans_the_same(tmp_path: Path) -> None:
    shards = corpus_of([[length] for length in [7, 20, 33, 60] * 50]).shards
    write_corpus(tmp_path, {"train": shards}, vocab_sha256="x", vocab_size=60_000)
    plan = BatchPlan([SampleIndex(Corpus.open(tmp_path), 60)], [0.7], batch_tokens=300, bin_width=16, seed=1)
    copy = pickle.loads(pickle.dumps(plan))
    for n in (0, 17, 1000):
        assert same(copy.batch(n), plan.batch(n))


def test_late_batches_cost_what_early_ones_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    work: list[int] = []

    class Counted(Permutation):
        def __call__(self, indices: object) -> object:  # type: ignore[override]
            work.append(np.size(indices))  # type: ignore[arg-type]
            return super().__call__(indices)  # type: ignore[arg-type]

    monkeypatch.setattr(plan_module, "Permutation", Counted)
    plan = BatchPlan([index_of([30] * 640), index_of([30] * 320)], [1.0, 2.0], batch_rows=64, overhead=0)
    costs = []
    for n in (10, 1_000_000, 10**12):
        work.clear()
        plan.batch(n)
        costs.append((len(work), sum(work)))
    # One batch number, 64 rows, 64 stream elements of at most 1 + 3 passes (weight 2 may touch two passes, or three).
    assert all(calls <= 6 and elements == 1 + 64 + 64 for calls, elements in costs)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 8])
def test_ranks_share_a_batch_without_overlap(world: int) -> None:
    plan = BatchPlan([index_of([7, 20, 33, 60] * 50)], batch_tokens=600, seed=5)
    rows = plan.batch(3)
    parts = [shard_rows(rows, rank, world) for rank in range(world)]
    again = np.empty_like(rows.sample)
    for rank, part in enumerate(parts):
        again[rank::world] = part.sample
        assert part.max_tokens == rows.max_tokens
    assert np.array_equal(again, rows.sample)
    assert sum(map(len, parts)) == len(rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_padding_ratio_is_what_padding_costs() -> None:
    plan = BatchPlan([index_of([7, 20, 33, 60] * 40)], batch_tokens=500, bin_width=16, overhead=2)
    real = slots = 0
    for batch in epoch_of(plan, 0):
        lengths = [plan.indexes[0].lengths[k] + 2 for k in batch.sample]
        real += sum(lengths)
        slots += len(lengths) * min(-(-max(lengths) // 8) * 8, batch.max_tokens)
    assert plan.padding_ratio(multiple=8, batches=10**6) == pytest.approx(1 - real / slots)
    assert BatchPlan([index_of([50] * 40)], batch_rows=4, overhead=0).padding_ratio() == 0


def test_narrow_bins_pad_less() -> None:
    generator = np.random.default_rng(0)
    index = index_of(generator.integers(1, 61, 2000).tolist())
    wide, narrow = (BatchPlan([index], batch_tokens=600, bin_width=w).padding_ratio() for w in (64, 8))
    assert narrow < 0.15 < 0.3 < wide


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": [1.0, 1.0], "batch_rows": 2}, "one weight for each"),
        ({"weights": [-1.0], "batch_rows": 2}, "0 or more"),
        ({"weights": [float("nan")], "batch_rows": 2}, "0 or more"),
        ({"weights": [0.0], "batch_rows": 2}, r"no samples in .*\(split 'train'\)"),
        ({}, "either batch_tokens or batch_rows"),
        ({"batch_rows": 2, "batch_tokens": 100}, "either batch_tokens or batch_rows"),
        ({"batch_tokens": 0}, "at least 1"),
        ({"batch_rows": 2, "bin_width": 0}, "bin_width"),
    ],
)
def test_senseless_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        BatchPlan([index_of([5, 6])], **arguments)  # type: ignore[arg-type]


def test_a_corpus_without_samples_is_named() -> None:
    with pytest.raises(DataError, match="in-memory"):
        BatchPlan([SampleIndex(corpus_of([[2]]), 10, min_tokens=5)], batch_rows=1)
