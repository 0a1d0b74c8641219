"""Whole-unit masking against a direct reading of the rule, and its rates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from reader.batches.masking import _ACTION, _ORDER, _TOKEN, MaskingRule, batch_unit_starts, mask_batch, select_units
from reader.errors import DataError
from reader.flags import PHRASE_CONT, WORD_START
from reader.random import bits, fold, key, uniforms_at

MASK, CLS, SEP, PAD = 3, 1, 2, 0
RULE = MaskingRule(vocab_size=500, mask_id=MASK, special_ids=(PAD, CLS, SEP, MASK, 77))


def slow_row(
    ids: list[int], starts: list[bool], maskable: list[bool], row_key: int, rule: MaskingRule
) -> tuple[Any, Any]:
    """One row by the letter of the rule, with plain loops: (ids after masking, positions)."""
    key_array = np.array([row_key], dtype=np.uint64)

    def uniform(stream: int, t: int) -> float:
        return float(uniforms_at(fold(key_array, stream), t).item())

    units: list[list[int]] = []
    for t in range(len(ids)):
        if maskable[t]:
            if starts[t] or t == 0 or not maskable[t - 1]:
                units.append([])
            units[-1].append(t)
    if not units:
        return ids, []
    budget = max(1, round(rule.rate * sum(maskable)))
    order = sorted(units, key=lambda unit: int(bits(fold(key_array, _ORDER), unit[0]).item()))
    taken: list[int] = []
    for unit in order:
        if len(taken) + len(unit) <= budget:
            taken += unit
    if not taken:
        taken = min(order, key=len)  # the first of the smallest
    result = list(ids)
    ordinary = [token for token in range(rule.vocab_size) if token not in rule.special_ids]
    for t in taken:
        action = uniform(_ACTION, t)
        if action < rule.mask:
            result[t] = rule.mask_id
        elif action < rule.mask + rule.random:
            result[t] = ordinary[int(uniform(_TOKEN, t) * len(ordinary))]
    return result, sorted(taken)


@st.composite
def batches(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.uint64]]:
    rows, length = draw(st.integers(1, 5)), draw(st.integers(1, 70))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    starts = generator.random((rows, length)) < draw(st.sampled_from([0.0, 0.1, 0.4, 0.8, 1.0]))
    maskable = generator.random((rows, length)) < draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    ids = generator.integers(0, 500, (rows, length)).astype(draw(st.sampled_from([np.int64, np.uint16])))
    return ids, starts, maskable, key(draw(st.integers(0, 2**40)), np.arange(rows))


@given(batches(), st.sampled_from([0.15, 0.01, 0.5, 1.0]), st.sampled_from([(0.8, 0.1), (0.0, 1.0), (0.4, 0.6)]))
@settings(max_examples=250, deadline=None)
def test_equals_the_rule_read_directly(batch: Any, rate: float, shares: tuple[float, float]) -> None:
    ids, starts, maskable, keys = batch
    rule = MaskingRule(500, MASK, RULE.special_ids, rate, *shares)
    before = ids.copy()
    masked = mask_batch(ids, starts, maskable, keys, rule)
    assert np.array_equal(ids, before)
    assert masked.ids.dtype == ids.dtype
    flat = []
    for b in range(len(ids)):
        expected, taken = slow_row(ids[b].tolist(), starts[b].tolist(), maskable[b].tolist(), int(keys[b]), rule)
        assert masked.ids[b].tolist() == expected
        flat += [b * ids.shape[1] + t for t in taken]
    assert masked.positions.tolist() == flat
    assert masked.labels.tolist() == ids.reshape(-1)[flat].tolist()


@given(batches())
@settings(max_examples=60, deadline=None)
def test_a_row_is_masked_the_same_in_any_batch_and_with_any_padding(batch: Any) -> None:
    ids, starts, maskable, keys = batch
    whole = mask_batch(ids, starts, maskable, keys, RULE)
    wider = [np.pad(array, ((0, 0), (0, 9))) for array in (ids, starts, maskable)]
    for b in range(len(ids)):
        one = slice(b, b + 1)
        alone = mask_batch(wider[0][one], wider[1][one], wider[2][one], keys[one], RULE)
        assert np.array_equal(alone.ids[0, : ids.shape[1]], whole.ids[b])
        assert (alone.positions + b * ids.shape[1]).tolist() == [
            p for p in whole.positions.tolist() if p // ids.shape[1] == b
        ]


def words_of(sizes: list[int], rows: int) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
    """`rows` equal rows of [CLS] words [SEP] with words of these sizes."""
    length = sum(sizes) + 2
    ids = np.full((rows, length), 100)
    ids[:, 0], ids[:, -1] = CLS, SEP
    starts = np.zeros((rows, length), dtype=bool)
    starts[:, 1 + np.cumsum([0, *sizes[:-1]])] = True
    maskable = np.ones((rows, length), dtype=bool)
    maskable[:, [0, -1]] = False
    return ids, starts, maskable


def test_rates_are_those_of_bert() -> None:
    rows = 4000
    ids, starts, maskable = words_of([1, 2, 1, 3, 1, 1, 2, 1, 4, 2] * 6, rows)
    masked = mask_batch(ids, starts, maskable, key(0, "m", np.arange(rows)), RULE)
    # 15% of 108 tokens is 16.2; there are words of one token to fill any rest of the budget.
    assert np.bincount(masked.positions // 110, minlength=rows).tolist() == [16] * rows
    after = masked.ids.reshape(-1)[masked.positions]
    total = len(after)
    replaced = (after != MASK) & (after != 100)
    random_share = 0.1 * (RULE.ordinary.size - 1) / RULE.ordinary.size  # one in 495 is the token itself
    for count, share in (((after == MASK).sum(), 0.8), (replaced.sum(), random_share)):
        assert abs(count - share * total) < 5 * np.sqrt(total * share * (1 - share))
    counts = np.bincount(after[replaced], minlength=500)
    assert not counts[[PAD, CLS, SEP, MASK, 77]].any()
    others = np.delete(counts, [PAD, CLS, SEP, MASK, 77, 100])
    assert stats.chisquare(others).pvalue > 1e-3
    untouched = np.ones(ids.size, dtype=bool)
    untouched[masked.positions] = False
    assert np.array_equal(masked.ids.reshape(-1)[untouched], ids.reshape(-1)[untouched])


def test_units_of_equal_size_are_taken_equally_often_and_pairs_too() -> None:
    rows, units = 20_000, 20  # budget of 6 of 40 tokens: 3 of 20 units
    _, starts, maskable = words_of([2] * units, rows)
    positions = select_units(starts, maskable, key(5, np.arange(rows)), 0.15)
    assert len(positions) == rows * 6
    taken = ((positions[::2] % 42 - 1) // 2).reshape(rows, 3)
    assert stats.chisquare(np.bincount(taken.ravel(), minlength=units)).statistic < stats.chi2.isf(1e-3, units - 1)
    pairs = np.concatenate([taken[:, [0, 1]], taken[:, [0, 2]], taken[:, [1, 2]]]) @ [units, 1]
    counts = np.bincount(pairs, minlength=units * units)
    upper = [a * units + b for a in range(units) for b in range(a + 1, units)]
    assert counts.sum() == counts[upper].sum()
    assert stats.chisquare(counts[upper]).statistic < stats.chi2.isf(1e-3, len(upper) - 1)


def test_the_budget_is_kept_by_passing_over_what_is_too_long() -> None:
    rows = 500
    _, starts, maskable = words_of([9, 1, 1, 1, 4, 4], rows)  # 20 tokens, budget 3: only the words of 1 fit
    positions = select_units(starts, maskable, key(1, np.arange(rows)), 0.15).reshape(rows, 3)
    assert np.array_equal(positions % 22, np.tile([10, 11, 12], (rows, 1)))
    _, starts, maskable = words_of([9, 7, 4, 4], rows)  # budget 4: one of the words of 4
    firsts = np.bincount(select_units(starts, maskable, key(2, np.arange(rows)), 0.15)[::4] % 26)
    assert np.flatnonzero(firsts).tolist() == [17, 21]
    assert abs(firsts[17] - rows / 2) < 5 * np.sqrt(rows) / 2
    _, starts, maskable = words_of([9, 7, 8], rows)  # budget 4: nothing fits, so the smallest
    assert np.unique(select_units(starts, maskable, key(3, np.arange(rows)), 0.15) % 26).tolist() == list(range(10, 17))


def test_granularities_are_drawn_per_row_by_their_shares() -> None:
    rows = 8000
    flags = np.tile(np.array([0, WORD_START, WORD_START | PHRASE_CONT, 0, WORD_START], dtype=np.uint8), (rows, 1))
    rule = MaskingRule(500, MASK, RULE.special_ids, granularities={"token": 1, "word": 5, "entity": 0, "phrase": 2})
    starts = batch_unit_starts(flags, key(0, np.arange(rows)), rule)
    kinds = {
        "token": [True, True, True, True, True],
        "word": [False, True, True, False, True],
        "phrase": [False, True, False, False, True],
    }
    counts = {name: int((starts == kind).all(axis=1).sum()) for name, kind in kinds.items()}
    assert sum(counts.values()) == rows
    for name, share in (("token", 1 / 8), ("word", 5 / 8), ("phrase", 2 / 8)):
        assert abs(counts[name] - share * rows) < 5 * np.sqrt(rows * share * (1 - share))
    assert np.array_equal(starts[17:18], batch_unit_starts(flags[17:18], key(0, np.arange(17, 18)), rule))


def test_nothing_to_mask_is_no_error() -> None:
    ids = np.array([[CLS, SEP, PAD]])
    nothing = np.zeros((1, 3), dtype=bool)
    masked = mask_batch(ids, nothing, nothing, key(0, np.arange(1)), RULE)
    assert masked.positions.tolist() == masked.labels.tolist() == []
    assert np.array_equal(masked.ids, ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0.0}, "rate"),
        ({"rate": 1.5}, "rate"),
        ({"mask": 0.9, "random": 0.2}, "at most 1 together"),
        ({"random": -0.1}, "0 or more"),
        ({"granularities": {"wrd": 1.0}}, "'wrd' is not known"),
        ({"granularities": {"word": 0.0}}, "all 0"),
        ({"granularities": {"word": 1.0, "phrase": -1.0}}, "'phrase' must be 0 or more"),
        ({"special_ids": tuple(range(500))}, "none besides"),
    ],
)
def test_senseless_rules_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        MaskingRule(500, MASK, **{"special_ids": (0, 1)} | arguments)
