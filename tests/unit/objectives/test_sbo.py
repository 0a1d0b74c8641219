"""What the boundary objective predicts and from where, against a walk along the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_paddle.objectives.registry import make_objective
from helpers.objective_corpora import Documents, documents, in_memory, step_reader
from propeller.errors import UserError
from propeller.values import Arrays


def _walk(ids: np.ndarray[Any, Any], chosen: set[int], max_span: int) -> list[tuple[int, int, int]]:
    """(left, right, place) of each chosen flat position, ascending."""
    found = []
    for position in sorted(chosen):
        left = right = position
        while left in chosen:
            left -= 1
        while right in chosen:
            right += 1
        assert left // ids.shape[1] == right // ids.shape[1]
        found.append((left, right, min(position - left, max_span) - 1))
    return found


def _check(feeds: Arrays, originals: np.ndarray[Any, Any], pad: int, max_span: int) -> None:
    """The labels are the original tokens of the chosen positions, boundaries real tokens that are not chosen."""
    chosen = {int(p) for p in feeds["mlm_positions"]}
    expected = _walk(originals, chosen, max_span)
    found = zip(feeds["sbo_left"].tolist(), feeds["sbo_right"].tolist(), feeds["sbo_places"].tolist(), strict=True)
    assert list(found) == expected
    assert feeds["sbo_labels"].tolist() == originals.reshape(-1)[sorted(chosen)].tolist()
    for left, right, _ in expected:
        assert not {left, right} & chosen
        assert pad not in originals.reshape(-1)[[left, right]]


def _originals(feeds: Arrays) -> np.ndarray[Any, Any]:
    ids = feeds["input_ids"].copy()
    ids.reshape(-1)[feeds["mlm_positions"]] = feeds["mlm_labels"]
    return ids


@settings(max_examples=25, deadline=None)
@given(
    documents(),
    st.integers(0, 3),
    st.sampled_from([1, 2, 10]),
    st.booleans(),
    st.sampled_from([("mlm", {}), ("mlm", {"rate": 0.9}), ("knowledge_masking", {"basic": 0.0, "rate": 0.4})]),
)
def test_masks_of_another_objective(
    docs: Documents, seed: int, max_span: int, first: bool, masking: tuple[str, dict[str, Any]]
) -> None:
    """In either order of the recipe, with rows of two parts and of any share of masks."""
    data = in_memory(docs, max_length=24, overhead=3)
    pair = [("sbo", {"max_span": max_span, "rate": 0.01}), masking]
    objectives: dict[str, Any] = dict(pair if first else pair[::-1]) | {"nsp": {}}
    reader = step_reader(data, objectives, overhead=3, seed=seed)
    alone = step_reader(data, dict([masking]) | {"nsp": {}}, overhead=3, seed=seed)
    for number in range(reader.plan.batches_per_epoch):
        (feeds,) = reader.step(number).micro_batches
        (without,) = alone.step(number).micro_batches
        for name, array in without.items():
            assert np.array_equal(feeds[name], array)
        _check(feeds, _originals(feeds), data.vocab.pad, max_span)


def test_masks_of_its_own() -> None:
    """Alone, it masks as its settings say; what it predicts stood at places that it masked."""
    data = in_memory(Documents([[9] * 8] * 30, 0), max_length=32, overhead=2)
    reader = step_reader(data, {"sbo": {"rate": 0.3, "mask": 1.0, "random": 0.0}})
    plain = step_reader(data, {"capitalization": {}})
    masked = total = 0
    for number in range(reader.plan.batches_per_epoch):
        (feeds,), (originals,) = reader.step(number).micro_batches, plain.step(number).micro_batches
        positions = np.flatnonzero(feeds["input_ids"] == data.vocab.mask)
        _check(feeds | {"mlm_positions": positions}, originals["input_ids"], data.vocab.pad, 10)
        masked += len(positions)
        total += int((originals["capitalization_labels"] != -100).sum())
    assert masked == pytest.approx(0.3 * total, rel=0.03)


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="max_span must be 1 or more, found 0"):
        make_objective("sbo", {"max_span": 0})
