"""The computed permutation: one-to-one, uniform enough, and the same in any piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reader.batches.permutation import Permutation


@given(st.integers(1, 5000), st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_is_a_bijection(n: int, seed: int) -> None:
    values = Permutation(n, seed)(np.arange(n))
    assert values.dtype == np.int64
    assert np.array_equal(np.sort(values), np.arange(n))


@given(st.integers(2**40, 2**61), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_huge_ranges_stay_inside_and_do_not_collide(n: int, seed: int) -> None:
    permutation = Permutation(n, seed)
    near = np.arange(2000)
    values = permutation(np.concatenate([near, n - 1 - near, n // 2 + near]))
    assert values.min() >= 0
    assert values.max() < n
    assert len(np.unique(values)) == len(values)
    assert stats.kstest(values / n, "uniform").pvalue > 1e-6


@given(st.integers(1, 300), st.integers(0, 99), st.data())
@settings(max_examples=30, deadline=None)
def test_pieces_scalars_and_shapes_agree_with_the_whole(n: int, seed: int, data: st.DataObject) -> None:
    permutation = Permutation(n, seed)
    whole = permutation(np.arange(n))
    index = data.draw(st.integers(0, n - 1))
    assert int(permutation(index)) == whole[index]
    some = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=2)))
    assert np.array_equal(Permutation(n, seed)(some[:, None]), whole[some][:, None])


@pytest.mark.parametrize("n", [2, 3, 5, 16, 17])
def test_every_place_is_equally_likely_over_seeds(n: int) -> None:
    rounds = 3000
    counts = np.zeros((n, n))
    for seed in range(rounds):
        counts[np.arange(n), Permutation(n, seed)(np.arange(n))] += 1
    # Rows and columns sum to `rounds`: (n-1)^2 degrees of freedom.
    statistic = ((counts - rounds / n) ** 2 / (rounds / n)).sum() * (n - 1) / n
    assert stats.chi2.sf(statistic, (n - 1) ** 2) > 1e-3


def test_neighbours_are_torn_apart() -> None:
    values = Permutation(100_000, 4)(np.arange(100_000))
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 5 / np.sqrt(100_000)
    # A random permutation rises in half of its steps, with variance (n+1)/12.
    assert abs((np.diff(values) > 0).sum() - 49_999.5) < 5 * np.sqrt(100_001 / 12)


def test_two_seeds_give_different_orders() -> None:
    same = Permutation(10_000, 1)(np.arange(10_000)) == Permutation(10_000, 2)(np.arange(10_000))
    assert same.sum() < 10  # one is expected


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_is_a_bug(index: int) -> None:
    with pytest.raises(AssertionError, match="outside"):
        Permutation(10, 0)(index)
