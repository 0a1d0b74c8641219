"""The skip report keeps counts exactly and places in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
