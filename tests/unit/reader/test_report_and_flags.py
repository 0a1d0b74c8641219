"""The skip report keeps counts exactly and places in order; unit starts follow the bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader import flags as F
from reader.errors import DataError
from reader.report import SkipReport


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99)), max_size=40), st.integers(0, 40))
def test_merging_parts_equals_counting_at_once(events: list[tuple[str, int]], cut: int) -> None:
    whole, first, second = SkipReport(), SkipReport(), SkipReport()
    for number, (reason, line) in enumerate(events):
        whole.add(reason, f"f:{line}")
        (first if number < cut else second).add(reason, f"f:{line}")
    first.merge(SkipReport.from_dict(second.to_dict()))
    assert first.to_dict() == whole.to_dict()
    assert first.total == len(events)
    assert sum(int(line.split(" ×")[0]) for line in first.lines()) == len(events)


def test_unit_starts_by_hand() -> None:
    # the | United States | army | re ##turned
    flags = np.array(
        [
            F.WORD_START,
            F.WORD_START | F.IN_ENTITY | F.IN_PHRASE,
            F.WORD_START | F.IN_ENTITY | F.IN_PHRASE | F.ENTITY_CONT | F.PHRASE_CONT,
            F.WORD_START | F.IN_PHRASE | F.PHRASE_CONT,
            F.WORD_START,
            0,
        ],
        dtype=np.uint8,
    )
    expected = {"token": "111111", "basic": "111110", "word": "111110", "phrase": "110010", "entity": "110110"}
    for granularity, bits in expected.items():
        assert "".join("1" if b else "0" for b in F.unit_starts(flags, granularity)) == bits
    with pytest.raises(DataError, match="phrase"):
        F.unit_starts(flags, "sentence")
