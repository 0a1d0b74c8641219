"""Sentence distance (ERNIE 2.0, "Structure-aware Pre-training Tasks"; "On Losses …", section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ernie_paddle.objectives.base import ObjectiveSettings, default_arrangement
from ernie_paddle.objectives.rows import Example, Row, sentences
from ernie_paddle.objectives.shared.drawn_text import draw_text
from ernie_paddle.objectives.shared.pairs import SentencePair, room_beside

ADJACENT, SAME_DOCUMENT, OTHER_DOCUMENT = 0, 1, 2


@dataclass(frozen=True)
class SentenceDistanceSettings(ObjectiveSettings):
    """Settings of sentence distance.

    Attributes:
        adjacent, same_document, other_document: Relative frequency of each class.
    """

    adjacent: float = 1.0
    same_document: float = 1.0
    other_document: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.shares) < 0 or np.count_nonzero(self.shares) < 2:
            raise ValueError(
                "adjacent, same_document and other_document must be 0 or more and two of them above 0, found "
                f"{self.shares}"
            )

    @property
    def shares(self) -> tuple[float, float, float]:
        """The relative frequencies, in the order of the classes."""
        return self.adjacent, self.same_document, self.other_document


class SentenceDistance(SentencePair[SentenceDistanceSettings]):
    """Does B follow A (0), come from elsewhere in its document (1), or from another document (2)?

    A is the first sentences of a sample. For every class, a text of the same document is drawn that neither overlaps
    nor touches A, before or after it, and is nearest in length to the rest of the sample. This text is the B of class
    1, and its length determines the B of the other classes: the sentences after A, or consecutive sentences of another
    document, that are nearest to this length. All texts are whole sentences, drawn as described in ``drawn_text``. So
    neither the length nor the place where a text ends reveals the class.

    A is cut where such a text exists. A document that has none (fewer than three sentences, a sample of one sentence,
    or no sentence that fits) gives a row without a label, whatever its class: with labels of the other classes alone,
    the classes would no longer have their frequencies, and short documents would reveal them. A row for which 16 draws
    find no text of another document has no label either. All such rows are counted.
    """

    name = "sentence_distance"
    summary = "ERNIE 2.0: does the second text follow the first, or come from elsewhere in its document, or another?"
    settings_type = SentenceDistanceSettings
    n_classes = 3

    def arrange(self, row: Row) -> Sequence[Example]:
        """``[CLS] A [SEP] B [SEP]``."""
        sample = row.sample
        text = row.data.sources[row.corpus].document(sample.document)
        count, total = len(sample.sentence_offsets) - 1, len(text.sentence_offsets) - 1
        # Sentences of the document before A; sentences before - 1 to before + cut (inclusive) overlap or touch A.
        before = int(text.sentence_offsets.searchsorted(sample.start))
        last = count - 1 if before >= 2 else min(count - 1, total - before - 2)
        if last < 1:
            row.note("sentence_distance: no cut leaves text of the document apart from A, left without a label")
            return [default_arrangement(row)]
        rng = row.generator(self.name)
        cut = int(rng.integers(1, last + 1))
        first = sentences(sample, 0, cut)
        spans = [(begin, end) for begin, end in ((0, before - 1), (before + cut + 1, total)) if begin < end]
        apart = draw_text(text, spans, rng, room_beside(row, first), len(sample.tokens) - len(first))
        if apart is None:
            row.note("sentence_distance: no sentence apart from A fits beside it, left without a label")
            return [default_arrangement(row)]
        label = int(rng.choice(self.n_classes, p=np.array(self.settings.shares) / sum(self.settings.shares)))
        if label == SAME_DOCUMENT:
            return self.pair(row, first, apart, label)
        if label == OTHER_DOCUMENT:
            return self.pair_with_other(row, rng, first, apart, label)
        ends = sample.sentence_offsets[cut + 1 :] - sample.sentence_offsets[cut]
        nearest = int(np.abs(ends - len(apart)).argmin())
        return self.pair(row, first, sentences(sample, cut, cut + 1 + nearest), label)
