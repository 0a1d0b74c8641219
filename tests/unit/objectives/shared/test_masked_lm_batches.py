"""Masking and capitalization on whole batches, against loops over tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_paddle.objectives.rows import Data
from helpers.objective_corpora import Documents, documents, in_memory, step_reader
from propeller.values import Arrays
from reader.flags import CAPITAL, ENTITY_CONT, PHRASE_CONT, UPPER, WORD_START


def _flags_by_token(docs: Documents) -> dict[int, int]:
    shard = docs.shard()
    return dict(zip(shard.tokens.tolist(), shard.flags.tolist(), strict=True))


def _originals(feeds: Arrays) -> np.ndarray[Any, Any]:
    """The batch before masking, restored from the labels."""
    ids = feeds["input_ids"].copy()
    ids.reshape(-1)[feeds["mlm_positions"]] = feeds["mlm_labels"]
    return ids


def _specials(data: Data) -> set[int]:
    return {data.vocab.pad, data.vocab.cls, data.vocab.sep}


@settings(max_examples=40, deadline=None)
@given(documents(), st.sampled_from(["word", "token"]), st.integers(0, 3))
def test_capitalization(docs: Documents, of: str, seed: int) -> None:
    """Each token's label is its flag, masked or not; specials and padding have none."""
    data = in_memory(docs, max_length=24, overhead=2)
    reader = step_reader(data, {"mlm": {}, "capitalization": {"of": of}}, seed=seed)
    flags = _flags_by_token(docs)
    for number in range(reader.plan.batches_per_epoch):
        (feeds,) = reader.step(number).micro_batches
        labels, originals = feeds["capitalization_labels"], _originals(feeds)
        for b, t in np.ndindex(*labels.shape):
            token = int(originals[b, t])
            if token in _specials(data):
                assert labels[b, t] == -100
            else:
                assert labels[b, t] == bool(flags[token] & (CAPITAL if of == "word" else UPPER))


def _units(row: list[int], flags: dict[int, int], granularity: str) -> list[set[int]]:
    """Positions of the units of one arranged row, by a walk over its tokens."""
    units: list[set[int]] = []
    inside = False
    for t, token in enumerate(row):
        if token not in flags:
            inside = False
            continue
        cont = {"token": 0, "word": 0, "phrase": PHRASE_CONT, "entity": ENTITY_CONT}[granularity]
        starts = granularity == "token" or (flags[token] & WORD_START and not flags[token] & cont)
        if starts or not inside:
            units.append(set())
        units[-1].add(t)
        inside = True
    return units


@pytest.mark.parametrize(
    ("name", "chosen", "granularities"),
    [
        ("mlm", {}, ["token"]),
        ("mlm", {"whole_word": True}, ["word"]),
        ("knowledge_masking", {"phrase": 0.0, "entity": 0.0}, ["word"]),
        ("knowledge_masking", {"basic": 0.0, "entity": 0.0}, ["phrase"]),
        ("knowledge_masking", {"basic": 0.0, "phrase": 0.0}, ["entity"]),
        ("knowledge_masking", {}, ["word", "phrase", "entity"]),
    ],
)
@settings(max_examples=15, deadline=None)
@given(documents(), st.integers(0, 3))
def test_whole_units_are_predicted(
    name: str, chosen: dict[str, Any], granularities: list[str], docs: Documents, seed: int
) -> None:
    data = in_memory(docs, max_length=24, overhead=5)
    reader = step_reader(data, {name: chosen, "sentence_reordering": {}}, overhead=5, seed=seed)
    flags = _flags_by_token(docs)
    for number in range(reader.plan.batches_per_epoch):
        (feeds,) = reader.step(number).micro_batches
        ids, originals = feeds["input_ids"], _originals(feeds)
        length = ids.shape[1]
        assert np.array_equal(feeds["attention_mask"], originals != data.vocab.pad)
        for b, row in enumerate(originals.tolist()):
            taken = {int(p) - b * length for p in feeds["mlm_positions"] if b * length <= p < (b + 1) * length}
            assert taken
            assert not any(row[t] in _specials(data) for t in taken)
            budget = max(1, np.rint(0.15 * sum(token in flags for token in row)))
            assert any(
                all(unit <= taken or unit.isdisjoint(taken) for unit in units)
                and (len(taken) <= budget or len(taken) == min(map(len, units)))
                for units in (_units(row, flags, granularity) for granularity in granularities)
            )
            assert all(int(ids[b, t]) == row[t] for t in range(length) if t not in taken)


def test_shares_of_granularities_and_replacements() -> None:
    """Over many rows: 80/10/10, and granularities in the proportion asked for (seen by how tokens go together)."""
    docs = Documents([[32] * 60], 1)
    data = in_memory(docs, max_length=34, overhead=2)
    # Words of one token, phrases of two, entities of four; nothing else.
    at = np.arange(docs.n_tokens)
    flags = WORD_START | np.where(at % 2, PHRASE_CONT, 0) | np.where(at % 4, ENTITY_CONT, 0)
    data.sources[0].corpus.shards[0].flags[:] = flags  # type: ignore[attr-defined]
    reader = step_reader(data, {"knowledge_masking": {"basic": 1, "phrase": 2, "entity": 5}}, batch_rows=60)
    runs = {1: 0, 2: 0, 4: 0}
    masked = kept = total = 0
    n = 20
    for number in range(n):
        (feeds,) = reader.step(number).micro_batches
        positions, labels = feeds["mlm_positions"], feeds["mlm_labels"]
        now = feeds["input_ids"].reshape(-1)[positions]
        masked += int((now == data.vocab.mask).sum())
        kept += int((now == labels).sum())
        total += len(positions)
        for b in range(60):
            taken = (positions[positions // feeds["input_ids"].shape[1] == b] - 1) % feeds["input_ids"].shape[1]
            assert len(taken) in (4, 5)  # 15% of 32 tokens is 4.8, rounded to 5; units of 2 or 4 take 4
            by_four = set(range(taken[0], taken[0] + 4)) == set(taken.tolist()) and taken[0] % 4 == 0
            by_two = len(taken) == 4 and all(t ^ 1 in set(taken.tolist()) for t in taken.tolist())
            runs[4 if by_four else 2 if by_two else 1] += 1
    rows = 60 * n
    for size, share in ((1, 1 / 8), (2, 2 / 8), (4, 5 / 8)):
        assert abs(runs[size] - rows * share) < 4 * np.sqrt(rows * share * (1 - share)) + 0.02 * rows
    assert abs(masked - 0.8 * total) < 4 * np.sqrt(total * 0.16)
    # A random token is the old one again with probability 1/1920.
    assert abs(kept - 0.1 * total) < 4 * np.sqrt(total * 0.09)


def test_objectives_leave_each_others_tokens() -> None:
    """A second corrupting objective would see the first one's choice: nothing is masked twice."""
    data = in_memory(Documents([[9] * 8] * 3, 0), max_length=32, overhead=2)
    reader = step_reader(data, {"mlm": {}})
    (second,) = step_reader(data, {"knowledge_masking": {}}).objectives
    original_label = reader.objectives[0].label
    seen: list[int] = []

    def label_twice(batch: Any) -> Arrays:
        feeds = original_label(batch)
        again = second.label(batch)
        seen.append(len(np.intersect1d(feeds["mlm_positions"], again["mlm_positions"])))
        assert np.array_equal(again["mlm_labels"], batch.original.reshape(-1)[again["mlm_positions"]])
        return feeds

    reader.objectives[0].label = label_twice  # type: ignore[method-assign]
    reader.step(0)
    assert seen == [0]
