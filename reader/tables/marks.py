"""Marked words of a text: a run of characters, given by its positions or by the number of its first word."""

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
    """Characters `begin` to `end` - 1 of a text. `agrees`: the given words stand exactly at the given place."""

    begin: int
    end: int
    agrees: bool = True


def find_mark(text: str, first: Any, second: Any, unit: str) -> Mark:
    """The run of characters that two cells describe.

    Args:
        text: the text.
        first: with `characters` the position where the run begins; with `words` the number of its first word, where
            words are separated by white space and counted from 0.
        second: with `characters` the position after the run's last character; with `words` the words themselves. A
            comma or a quote next to these words may be missing in the cell, and capitals may differ. If the words do
            not stand at the number, the nearest place where they stand is used; if they stand nowhere, the number is
            used, and the run has as many words as the cell.
        unit: one of UNITS.

    Raises:
        UnusableCellError: a cell is missing or not a number, or the text has no words at this place.
    """
    begin = _number(first)
    if unit == CHARACTERS:
        end = _number(second)
        if not 0 <= begin < end <= len(text) or not text[begin:end].strip():
            raise UnusableCellError(f"characters {begin} to {end} are not words of a text of {len(text)} characters")
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
    raise UnusableCellError("a place is missing" if cell in (None, "") else f"{cell!r} is not a whole number")
