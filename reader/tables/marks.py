"""Marked words of a text: a run of characters, given by its characters or by the number of its first word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from reader.tables.cells import UnusableCellError

CHARACTERS = "characters"
WORDS = "words"
UNITS = (CHARACTERS, WORDS)
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Mark:
    """Characters begin to end - 1 of a text. `agrees`: they are what was said, in the place that was said."""

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
            They need not be all of what stands there (a comma or a quote is left out), nor have the same capitals. If
            they are not there, the nearest place where they are is meant; if they are nowhere, the number is believed
            and the run is as many words.
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
    parts = second.split()
    many, run = len(parts), r"\s+".join(map(re.escape, parts))
    wanted = re.compile(rf"(?<!\w){run}(?!\w)", re.IGNORECASE)
    for place in sorted(range(len(words)), key=lambda place: abs(place - begin)):
        window = words[place : place + many]
        found = wanted.search(text, window[0].start(), window[-1].end())
        if found is not None and found.start() < window[0].end():
            return Mark(found.start(), found.end(), agrees=place == begin)
    window = words[begin : begin + many]
    return Mark(window[0].start(), window[-1].end(), agrees=False)


def _number(cell: Any) -> int:
    try:
        if isinstance(cell, (str, int)) and not isinstance(cell, bool):
            return int(cell)
    except ValueError:
        pass
    raise UnusableCellError("a place is missing" if cell in (None, "") else f"{cell!r} is no whole number")
