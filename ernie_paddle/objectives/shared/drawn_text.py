"""Texts drawn from elsewhere to replace a given one: whole sentences of about the same length.

A text that is cut inside a sentence, or that is shorter or longer than the one that it replaces, would reveal by its
form that it was drawn.

The remaining differences, measured for next sentence prediction on English text in rows of 128 tokens, half of them
drawn: many short sentences fit a length more often, so a drawn text has 2.2 sentences on average and a true one
2.0, and it fills the row to the last token in 2.4 % of the rows instead of 3.7 %. A decision tree on the lengths of A
and B is right in 50 % of the rows, one on the length of B and its number of sentences in 55 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ernie_paddle.objectives.rows import Part, Row, sentences
from reader.corpora.samples import Sample

# In a corpus of many documents one draw nearly always finds another document; with few documents, sixteen draws do.
_TRIES = 16
# Number of first sentences whose texts are compared: the best text is rarely more than a token or two off.
_STARTS = 16
# A text is near enough if it differs by at most this fraction of the length.
_NEAR = 1 / 8


def draw_other_document(row: Row, rng: np.random.Generator, room: int, length: int) -> Part | None:
    """Draw a text of another document of the corpus: the first of 16 draws that is near enough, or else the nearest.

    Args:
        row: The row from whose corpus the text is drawn.
        rng: Random generator of the draws.
        room: Maximum number of tokens.
        length: Desired number of tokens.

    Returns:
        Whole sentences; None if no draw found another document with a sentence that fits.
    """
    source = row.data.sources[row.corpus]
    nearest: Part | None = None
    for number in rng.integers(len(source), size=_TRIES):
        document = source.sample(int(number)).document
        if document == row.sample.document:
            continue
        text = source.document(document)
        found = draw_text(text, [(0, len(text.sentence_offsets) - 1)], rng, room, length)
        if found is not None and (nearest is None or abs(len(found) - length) < abs(len(nearest) - length)):
            nearest = found
            if abs(len(found) - length) <= _NEAR * length:
                break
    return nearest


def draw_text(
    text: Sample, spans: Sequence[tuple[int, int]], rng: np.random.Generator, room: int, length: int
) -> Part | None:
    """Consecutive sentences inside one of the spans that come nearest to ``length`` tokens.

    The candidates are all texts that begin with one of 16 sentences: a random one of the spans and those after it,
    wrapping around at the end. Of equally near texts the first is taken, and the shorter of two with the same start.

    Args:
        text: A document.
        spans: Sentences (first, end) of the document that may be used; none is empty.
        rng: Random generator of the draw.
        room: Maximum number of tokens.
        length: Desired number of tokens, at least 1.

    Returns:
        Whole sentences; None if none of the 16 candidates fits.
    """
    offsets = text.sentence_offsets
    firsts, ends = np.array(spans).T
    before = np.cumsum(ends - firsts)
    total = int(before[-1])
    drawn = (rng.integers(total) + np.arange(min(total, _STARTS))) % total
    span = before.searchsorted(drawn, side="right")
    start = drawn - before[span] + ends[span]
    # The first end that makes the text long enough, and the end before it.
    enough = np.minimum(offsets.searchsorted(offsets[start] + length), ends[span])
    stop = np.stack([enough - 1, enough], axis=1)
    sizes = offsets[stop] - offsets[start][:, None]
    off = np.where((sizes > 0) & (sizes <= room), np.abs(sizes - length), np.iinfo(sizes.dtype).max)
    best = int(off.argmin())
    if not 0 < sizes.item(best) <= room:
        return None
    return sentences(text, start.item(best // 2), stop.item(best))
