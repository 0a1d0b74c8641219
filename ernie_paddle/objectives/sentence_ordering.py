"""Sentence ordering ("On Losses …", section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from ernie_paddle.objectives.base import ObjectiveSettings, default_arrangement
from ernie_paddle.objectives.example import Example, Row
from ernie_paddle.objectives.pairs import SentencePair, cut_in_two

IN_ORDER, SWAPPED = 0, 1


class SentenceOrdering(SentencePair[ObjectiveSettings]):
    """Are these two consecutive texts in order (0), or swapped (1)?

    A sample of at least two sentences is cut at a random sentence boundary; half of the rows show the second text
    first. A sample of one sentence has no label, and is counted.
    """

    name = "sentence_ordering"
    summary = "On Losses: are two consecutive texts in order, or swapped?"
    settings_type = ObjectiveSettings
    n_classes = 2

    def arrange(self, row: Row) -> Sequence[Example]:
        """``[CLS] A [SEP] B [SEP]`` or ``[CLS] B [SEP] A [SEP]``."""
        rng = row.generator(self.name)
        cut = cut_in_two(row, rng, self.name)
        if cut is None:
            return [default_arrangement(row)]
        first, second = cut
        if rng.random() < 0.5:
            return self.pair(row, second, first, SWAPPED)
        return self.pair(row, first, second, IN_ORDER)
