"""What a loss is divided by: the labels that count, or the sum of their weights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from propeller.errors import UserError
from propeller.graph.inputs import IGNORE, Input


@pytest.mark.parametrize(
    ("ignore", "labels", "expected"),
    [
        (IGNORE, [[3, IGNORE, 0], [IGNORE, IGNORE, 1]], 3),
        (IGNORE, [[IGNORE, IGNORE]], 0),
        (IGNORE, [[0, 0, -1]], 3),
        # Another value than the usual one: then the usual one is a label like any other.
        (0, [[0, 5, IGNORE], [0, 0, 7]], 3),
        (None, [[0, IGNORE, 0], [0, 0, 0]], 6),
    ],
)
def test_integer_labels_that_differ_from_ignore_count(
    ignore: int | None, labels: list[list[int]], expected: int
) -> None:
    item = Input("labels", (None, None), "int64", ignore=ignore)
    assert item.count(np.array(labels, np.int64)) == expected


@pytest.mark.parametrize(
    ("ignore", "labels", "expected"),
    [
        (math.nan, [0.0, math.nan, -2.5, math.nan, math.inf], 3),
        (math.nan, [math.nan], 0),
        # NaN differs from every number, also from the one that is ignored.
        (float(IGNORE), [0.5, IGNORE, 0.0, math.nan], 3),
        (None, [0.0, math.nan, 1.0], 3),
    ],
)
def test_real_labels_that_differ_from_ignore_count(ignore: float | None, labels: list[float], expected: int) -> None:
    item = Input("labels", (None,), "float32", ignore=ignore)
    assert item.count(np.array(labels, np.float32)) == expected


def test_no_labels_count_nothing() -> None:
    for ignore in (None, IGNORE):
        assert Input("labels", (None,), "int64", ignore=ignore).count(np.zeros(0, np.int64)) == 0


@pytest.mark.parametrize("ignore", [None, 0])
def test_weights_are_summed(ignore: int | None) -> None:
    item = Input("weights", (None, None), "float32", ignore=ignore, weights=True)
    assert item.count(np.array([[0.5, 0.0, 2.0], [0.0, 0.25, 0.0]], np.float32)) == 2.75
    assert item.count(np.zeros((2, 3), np.float32)) == 0


def test_many_weights_are_summed_exactly() -> None:
    """In float32, adding 1 to 2²⁴ leaves 2²⁴."""
    weights = np.ones(2049, np.float32)
    weights[0] = 2.0**24
    assert Input("weights", (None,), "float32", weights=True).count(weights) == 2**24 + 2048


def test_a_weight_that_counts_cannot_be_ignored() -> None:
    with pytest.raises(AssertionError, match="a weight that counts is ignored"):
        Input("weights", (None,), "float32", ignore=1, weights=True)


@pytest.mark.parametrize("name", ["", "labels@count"])
def test_names_that_are_kept_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="must not be empty nor contain '@'"):
        Input(name, (None,), "int64")
