"""Where units start, read from the flags of the tokens."""

from __future__ import annotations

import numpy as np
import pytest

from reader import flags as F
from reader.errors import DataError


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
