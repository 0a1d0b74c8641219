"""The laws of target fragments (ERNIE-GEN, section 3.1)."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.batches.fragments import FragmentRule, sample_fragments
from reader.errors import DataError
from reader.random import generator

PAPER = FragmentRule()


@given(st.integers(1, 600), st.integers(0, 2**32), st.sampled_from([0.05, 0.25, 0.9]))
def test_fragments_spend_the_budget_in_order_and_without_overlap(n: int, seed: int, budget: float) -> None:
    starts, lengths = sample_fragments(n, FragmentRule(budget=budget), generator(seed))
    assert lengths.sum() == min(max(1, round(budget * n)), n - 1)
    if n == 1:
        return
    assert lengths.min() >= 1
    assert lengths.max() <= 32
    assert starts[0] >= 0
    assert starts[-1] + lengths[-1] <= n
    assert (starts[1:] >= (starts + lengths)[:-1]).all()


def test_both_distributions_of_lengths_are_drawn_in_their_shares() -> None:
    """Only the shortened fragment of a text may lie outside its distribution; 40% of the texts have short ones."""
    short = 0
    for seed in range(2000):
        _, lengths = sample_fragments(512, PAPER, generator(seed))
        short += lengths.max() <= 4
        assert (lengths < 4).sum() <= 1 or lengths.max() <= 4
    assert short / 2000 == pytest.approx(0.4, abs=0.04)
    # In a long text, the end of the budget hardly changes the shares of the lengths.
    counts: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
    for seed in range(300):
        _, lengths = sample_fragments(20_000, PAPER, generator(seed))
        counts[bool(lengths.max() <= 4)].update(lengths.tolist())
    for is_short, (first, last) in ((True, (1, 4)), (False, (4, 32))):
        found = np.array([counts[is_short][length] for length in range(first, last + 1)])
        assert found / found.sum() * len(found) == pytest.approx(1, rel=0.12)


def test_all_placements_are_equally_likely() -> None:
    """Two fragments of one token in a text of eight: 28 placements, and each token is taken as often as another."""
    rule = FragmentRule(budget=0.25, lengths=((1, 1),), shares=(1.0,))
    counts = Counter(tuple(sample_fragments(8, rule, generator(seed))[0].tolist()) for seed in range(28 * 300))
    assert set(counts) == set(combinations(range(8), 2))
    assert np.array(list(counts.values())) == pytest.approx(300, rel=0.25)


def test_placements_of_unequal_fragments_are_equally_likely() -> None:
    """Three tokens, so fragments of two and of one, in a text of six: 20 placements, also with the long one last."""
    rule = FragmentRule(budget=0.5, lengths=((2, 2),), shares=(1.0,))
    counts: Counter[tuple[tuple[int, int], ...]] = Counter()
    for seed in range(3600):
        starts, lengths = sample_fragments(6, rule, generator(seed))
        counts[tuple(zip(starts.tolist(), lengths.tolist(), strict=True))] += 1
    lie = {
        tuple(sorted([(long, 2), (short, 1)]))
        for long, short in product(range(5), range(6))
        if short not in (long, long + 1)
    }
    assert set(counts) == lie
    assert np.array(list(counts.values())) == pytest.approx(3600 / len(lie), rel=0.3)


def test_mistakes_in_the_rule() -> None:
    for settings, message in (
        ({"budget": 1.0}, "must lie between 0 and 1, not 1.0"),
        ({"shares": (1.0,)}, "give a share for each of the 2 distributions of lengths, not 1"),
        ({"shares": (0.0, 0.0)}, "not all 0"),
        ({"lengths": ((0, 4), (4, 32))}, "begin at 1 and ascend; 0 to 4 do not"),
        ({"lengths": ((5, 4), (4, 32))}, "begin at 1 and ascend; 5 to 4 do not"),
    ):
        with pytest.raises(DataError, match=message):
            FragmentRule(**settings)  # type: ignore[arg-type]
