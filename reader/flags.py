"""What is known of each token besides its id: one byte of bits, kept beside the ids in the shards.

The three granularities of ERNIE 1.0/2.0's knowledge masking (basic, phrase, entity) are cuts of the same token
sequence into units, so a unit is stored as "this token continues the unit of the one before". WORD_START says where
words begin; a phrase or an entity is made of whole words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError

WORD_START = 1
"""First piece of a word. The first token of a sentence always has it."""
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
    """Where the units of a granularity begin.

    Args:
        flags: uint8 [N], the flags of consecutive tokens.
        granularity: "token" (every piece for itself), "basic" (ERNIE 1.0's basic language unit: a word of English, a
            character of Chinese), "word" (the same cut), "phrase" or "entity" (words outside of any are units too).

    Returns:
        bool [N]; unit k is the tokens from the k-th True up to the next. If the slice begins in the middle of a
        unit, its first entry is False: callers that cut sequences set it themselves.

    Raises:
        DataError: the granularity is not one of `GRANULARITIES`.
    """
    if granularity == "token":
        return np.ones(len(flags), dtype=np.bool_)
    if granularity not in _CUTS:
        raise DataError(f"granularity {granularity!r} is not known; use one of {', '.join(GRANULARITIES)}")
    starts: NDArray[np.bool_] = (flags & (WORD_START | _CUTS[granularity])) == WORD_START
    return starts
