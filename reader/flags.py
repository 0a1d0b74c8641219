"""Flags of each token: one byte of bits, stored beside the token ids in the shards.

The three granularities of ERNIE 1.0/2.0's knowledge masking (basic, phrase, entity) divide the same token sequence into
units, so a unit is stored by flags that say "this token continues the unit of the token before it". WORD_START marks
the first token of each word; a phrase or an entity consists of whole words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError

WORD_START = 1
"""The token is the first piece of a word. The first token of a sentence always has this flag."""
PHRASE_CONT = 2
"""The token's word continues a phrase that an earlier word began."""
ENTITY_CONT = 4
"""The token's word continues an entity that an earlier word began."""
UPPER = 8
"""The token's surface in the original text has an upper-case character."""
CAPITAL = 16
"""The first character of the token's word in the original text is upper-case (set on all pieces of the word)."""
IN_PHRASE = 32
"""The token lies in a phrase of two or more words that a segmenter found."""
IN_ENTITY = 64
"""The token lies in an entity that a segmenter found (one word or more)."""
CJK = 128
"""The token is one Chinese character (a word of its own, as BERT splits them)."""

GRANULARITIES = ("token", "basic", "word", "phrase", "entity")
_CUTS = {"basic": 0, "word": 0, "phrase": PHRASE_CONT, "entity": ENTITY_CONT}


def unit_starts(flags: NDArray[np.uint8], granularity: str) -> NDArray[np.bool_]:
    """Mark the first token of each unit of a granularity.

    Args:
        flags: uint8 [N], the flags of consecutive tokens.
        granularity: "token" (every token is a unit), "basic" (ERNIE 1.0's basic language unit: a word of English, a
            character of Chinese), "word" (the same units), "phrase" or "entity" (a word outside of all phrases or
            entities is a unit too).

    Returns:
        bool [N], True at the first token of each unit. If the slice begins in the middle of a unit, its first entry is
        False: callers that cut sequences set this entry themselves.

    Raises:
        DataError: the granularity is not one of `GRANULARITIES`.
    """
    if granularity == "token":
        return np.ones(len(flags), dtype=np.bool_)
    if granularity not in _CUTS:
        raise DataError(f"granularity {granularity!r} is not known; use one of {', '.join(GRANULARITIES)}")
    starts: NDArray[np.bool_] = (flags & (WORD_START | _CUTS[granularity])) == WORD_START
    return starts
