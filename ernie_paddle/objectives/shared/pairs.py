"""The base of objectives that classify pairs of texts ``[CLS] A [SEP] B [SEP]`` (BERT, section 3.1, Task #2).

Nothing but the relation of the texts may reveal the class. Every A and B is whole sentences, whatever the class; a B
from elsewhere has about the length of the B that it replaces (``drawn_text``); and where the two change places, the
first is not systematically longer than the second because of the way text is packed (``CutPair``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings, default_arrangement
from ernie_paddle.objectives.rows import Example, Part, Row, assemble, sentences
from ernie_paddle.objectives.shared.drawn_text import draw_other_document
from ernie_paddle.objectives.shared.loss_terms import classification
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Value
from reader.corpora.samples import Sample

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput

P = TypeVar("P", bound=ObjectiveSettings)


class SentencePair(Objective[P]):
    """Classify a pair by its [CLS]. Subclasses define how the pair is made and what its classes are.

    Attributes:
        n_classes: Number of classes.
    """

    n_classes: int
    arranges = True
    pooled = True

    @property
    def labels(self) -> str:
        """Name of the label Input."""
        return f"{self.name}_labels"

    @property
    def inputs(self) -> Sequence[Input]:
        """``<name>_labels`` int64 [B]."""
        return [Input(self.labels, (None,), "int64", ignore=IGNORE)]

    @property
    def max_parts(self) -> int:
        """Two parts, A and B."""
        return 2

    def pair(self, row: Row, first: Part, second: Part, label: int | None) -> Sequence[Example]:
        """The row ``[CLS] first [SEP] second [SEP]``; a row with None as label does not count."""
        return [assemble([first, second], row.data, {} if label is None else {self.labels: label})]

    def pair_with_other(
        self, row: Row, rng: np.random.Generator, first: Part, second: Part, label: int
    ) -> Sequence[Example]:
        """Make the row of A and a text of another document of about the length of ``second``.

        If 16 draws find no text that fits, the row is that of A and ``second`` without a label, and is counted.
        """
        other = draw_other_document(row, rng, room_beside(row, first), len(second))
        if other is None:
            row.note(f"{self.name}: no other document found, left without a label")
            return self.pair(row, first, second, None)
        return self.pair(row, first, other, label)

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """The classes on the pooled [CLS]."""
        from ernie_paddle.models.heads import PooledClassifier

        return {self.name: PooledClassifier(config, self.n_classes, f"cls.{self.name}")}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the rows that have a label."""
        logits_BK = heads[self.name](outputs)
        return [classification(self.name, logits_BK, feeds[self.labels], self.labels, self.settings.weight)]


class CutPair(SentencePair[P]):
    """A pair of the two parts of a stretch of at least two sentences, cut at a random sentence boundary.

    The stretch is as many sentences as fit into the row, from the second sentence of the sample on, or from the first
    if the sample begins its document. The reason: the first sentence of any later sample is there because it did not
    fit into the sample before, so it is longer than others, and the length of a part would reveal which of the two
    comes first. No other sentence of the stretch is singled out by its length, if the row has room for the longest
    sample. (In the rows of shorter bins, see ``reader.batches.plan``, the last one may be: some sentence there was too
    long.) The remaining differences lie in the text itself, such as a document that ends in short lines.

    If there are no two such sentences, or the sample is a piece of a sentence, the row is
    ``[CLS] sample [SEP]`` without a label, and is counted.
    """

    def arrange(self, row: Row) -> Sequence[Example]:
        """Cut the sample in two and arrange the parts with :meth:`arrange_cut`."""
        text, first, end = _stretch(row)
        if end - first < 2:
            alone = len(row.sample.sentence_offsets) == 2
            why = "a sample of one sentence" if alone else "a sample after whose first sentence no two fit"
            row.note(f"{self.name}: {why} has no A and B, left without a label")
            return [default_arrangement(row)]
        rng = row.generator(self.name)
        cut = int(rng.integers(first + 1, end))
        return self.arrange_cut(row, rng, sentences(text, first, cut), sentences(text, cut, end))

    def arrange_cut(self, row: Row, rng: np.random.Generator, first: Part, second: Part) -> Sequence[Example]:
        """Make the row of the two parts; ``rng`` is the random generator of the row."""
        raise NotImplementedError


def room_beside(row: Row, first: Part) -> int:
    """Number of tokens that fit into the row besides A and the special symbols of two texts."""
    return row.room - len(first) - row.data.layout.specials(2)


def _stretch(row: Row) -> tuple[Sample, int, int]:
    """The document of a row, and the sentences (first, end) to cut in two; an empty range for a piece of a sentence."""
    sample = row.sample
    text = row.data.sources[row.corpus].document(sample.document)
    offsets = text.sentence_offsets
    at = int(offsets.searchsorted(sample.start))
    if not np.array_equal(offsets[at : at + 2], sample.start + sample.sentence_offsets[:2]):
        return text, at, at
    first = at if sample.start == 0 else at + 1
    room = row.room - row.data.layout.specials(2)
    return text, first, int(offsets.searchsorted(offsets[first] + room, side="right")) - 1
