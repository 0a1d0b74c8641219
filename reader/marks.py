"""Marked words of a text: a run of characters, given by its characters or by the number of its first word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from reader.cells import UnusableCellError

CHARACTERS = "characters"
WORDS = "words"
UNITS = (CHARACTERS, WORDS)
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Mark:
    """Characters begin to end - 1 of a text. `agrees`: they are the words that they were said to be."""

    begin: int
    end: int
    agrees: bool = True


def find_mark(text: str, first: Any, second: Any, unit: str) -> Mark:
    """The run of characters that two cells mean.

    Args:
        text: the text.
        first: with `characters` where the run begins; with `words` the number of its first word, where the text is cut
            at white space and words are counted from 0.
        second: with `characters` where the run ends (the first character after it); with `words` the words themselves.
            If these stand in the words from that number on, they are the run, so that a comma or a quote beside them
            is left out, and capitals make no difference. Otherwise the number is believed: the run is as many words.
        unit: one of UNITS.

    Raises:
        UnusableCellError: a cell is missing or no number, or there is nothing at this place of the text.
    """
    begin = _number(first)
    if unit == CHARACTERS:
        end = _number(second)
        if not 0 <= begin < end <= len(text) or not text[begin:end].strip():
            raise UnusableCellError(f"characters {begin} to {end} are no words of a text of {len(text)} characters")
        return Mark(begin, end)
    if not isinstance(second, str) or not second.strip():
        raise UnusableCellError("the words are missing")
    words = list(_WORD.finditer(text))
    if not 0 <= begin < len(words):
        raise UnusableCellError(f"there is no word {begin} in a text of {len(words)} words")
    last = min(begin + len(second.split()), len(words)) - 1
    start, end = words[begin].start(), words[last].end()
    found = re.search(re.escape(second.strip()), text[start:end], re.IGNORECASE)
    if found is None:
        return Mark(start, end, agrees=False)
    return Mark(start + found.start(), start + found.end())


def _number(cell: Any) -> int:
    try:
        if isinstance(cell, (str, int)) and not isinstance(cell, bool):
            return int(cell)
    except ValueError:
        pass
    raise UnusableCellError("a place is missing" if cell in (None, "") else f"{cell!r} is no whole number")
