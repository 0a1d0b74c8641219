"""Sentence ordering ("On Losses …", section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Example, Part, Row
from ernie_paddle.objectives.shared.pairs import CutPair

IN_ORDER, SWAPPED = 0, 1


class SentenceOrdering(CutPair[ObjectiveSettings]):
    """Are these two consecutive texts in order (0), or swapped (1)?

    The texts are cut as described in ``CutPair``; half of the rows show the second text first.
    """

    name = "sentence_ordering"
    summary = "On Losses: are two consecutive texts in order, or swapped?"
    settings_type = ObjectiveSettings
    n_classes = 2

    def arrange_cut(self, row: Row, rng: np.random.Generator, first: Part, second: Part) -> Sequence[Example]:
        """``[CLS] A [SEP] B [SEP]`` or ``[CLS] B [SEP] A [SEP]``."""
        if rng.random() < 0.5:
            return self.pair(row, second, first, SWAPPED)
        return self.pair(row, first, second, IN_ORDER)
