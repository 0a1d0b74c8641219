"""The length that a batch is padded to."""

from __future__ import annotations

import pytest

from reader.lengths import padded_length


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((17, 8), 24), ((16, 8), 16), ((17,), 17), ((61, 8, 62), 62), ((61, 8, 64), 64), ((1, 8, 3), 3)],
)
def test_padded_length(arguments: tuple[int, ...], expected: int) -> None:
    assert padded_length(*arguments) == expected
