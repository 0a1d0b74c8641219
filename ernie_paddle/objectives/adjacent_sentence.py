"""Adjacent sentence prediction ("On Losses …", section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Example, Part, Row
from ernie_paddle.objectives.shared.pairs import CutPair

NEXT, PREVIOUS, OTHER = 0, 1, 2


class AdjacentSentence(CutPair[ObjectiveSettings]):
    """Does the second text follow the first (0), precede it (1), or come from another document (2)?

    The two texts are consecutive, as described in ``CutPair``. A third of the rows shows them in order, a third in
    reverse order, and in a third the second text is replaced as in ``nsp``; a row for which no such text is found has
    no label and is counted.
    """

    name = "adjacent_sentence"
    summary = "On Losses: does the second text follow the first, precede it, or come from another document?"
    settings_type = ObjectiveSettings
    n_classes = 3

    def arrange_cut(self, row: Row, rng: np.random.Generator, first: Part, second: Part) -> Sequence[Example]:
        """``[CLS] A [SEP] B [SEP]`` or ``[CLS] B [SEP] A [SEP]``."""
        label = int(rng.integers(self.n_classes))
        if label == PREVIOUS:
            return self.pair(row, second, first, label)
        if label == OTHER:
            return self.pair_with_other(row, rng, first, second, label)
        return self.pair(row, first, second, label)
