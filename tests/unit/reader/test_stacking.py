"""Padding and stacking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.batching import PaddingCount, flat_positions, padded_length, stack

rows_of_ids = st.lists(st.lists(st.integers(1, 60_000), max_size=12), min_size=1, max_size=6)


@given(rows_of_ids, st.integers(0, 3), st.integers(0, 2))
def test_stack_equals_padding_each_row(rows: list[list[int]], more: int, start: int) -> None:
    length = max(map(len, rows)) + start + more
    batch = stack([np.array(row, dtype=np.uint16) for row in rows], -7, np.int32, length, start)
    assert batch.dtype == np.int32
    assert batch.tolist() == [[-7] * start + row + [-7] * (length - start - len(row)) for row in rows]
    arrays = [np.array(row, dtype=np.uint16) for row in rows]
    assert stack(arrays, 0).shape == (len(rows), max(map(len, rows)))


@given(rows_of_ids)
def test_flat_positions_find_the_same_entries(rows: list[list[int]]) -> None:
    generator = np.random.default_rng(len(rows))
    batch = generator.integers(0, 99, (len(rows), 20))
    places = [np.array(row, dtype=np.int32) % 20 for row in rows]
    expected = [int(batch[b, t]) for b, row in enumerate(places) for t in row]
    assert batch.reshape(-1)[flat_positions(places, 20)].tolist() == expected
    assert flat_positions([], 20).size == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((17, 8), 24), ((16, 8), 16), ((17,), 17), ((61, 8, 62), 62), ((61, 8, 64), 64), ((1, 8, 3), 3)],
)
def test_padded_length(arguments: tuple[int, ...], expected: int) -> None:
    assert padded_length(*arguments) == expected


def test_padding_is_counted_over_batches() -> None:
    count = PaddingCount()
    assert count.ratio == 0
    count.add(60, 80)
    count.add(20, 20)
    assert count.ratio == pytest.approx(0.2)


def test_a_row_that_does_not_fit_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="does not fit"):
        stack([np.arange(5)], 0, length=5, start=1)
