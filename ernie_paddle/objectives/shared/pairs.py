"""Pairs of texts ``[CLS] A [SEP] B [SEP]``, as the objectives that classify them share it (BERT, section 3.1, Task #2).

What is no question of the class must not tell it. Every A and B is whole sentences, whatever the class; a B from
elsewhere has about the length of the B that it stands for (``drawn_text``); and where the two change places, the
first is not longer than the second by the way text is packed (``CutPair``).
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
    """Classify a pair by its [CLS]. Subclasses say how it is made, and what its classes are.

    Attributes:
        n_classes: how many there are.
    """

    n_classes: int
    arranges = True
    pooled = True

    @property
    def labels(self) -> str:
        """Name of the Input of the labels."""
        return f"{self.name}_labels"

    @property
    def inputs(self) -> Sequence[Input]:
        """``<name>_labels`` int64 [B]."""
        return [Input(self.labels, (None,), "int64", ignore=IGNORE)]

    @property
    def max_parts(self) -> int:
        """A and B."""
        return 2

    def pair(self, row: Row, first: Part, second: Part, label: int | None) -> Sequence[Example]:
        """The row ``[CLS] first [SEP] second [SEP]``; with None as label it does not count."""
        return [assemble([first, second], row.data, {} if label is None else {self.labels: label})]

    def pair_with_other(
        self, row: Row, rng: np.random.Generator, first: Part, second: Part, label: int
    ) -> Sequence[Example]:
        """The row of A and a text of another document of about the length of ``second``.

        Where 16 draws find none that fits, the row is that of A and ``second``, without a label, and is counted.
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
    """A pair of the two parts of a stretch of at least two sentences, which is cut at a random sentence boundary.

    The stretch is as many sentences as fit into the row, from the second sentence of the sample on; from the first
    where that one begins its document. For the first sentence of any later sample stands there because it did not fit
    into the sample before, so it is longer than others, and the length of a part would tell which of the two comes
    first. No other sentence of the stretch is singled out by its length, if the row has room for the longest sample.
    (In the rows of shorter bins, see ``reader.batches.plan``, the last one may be: some sentence there was too long.)
    What remains is what the text itself does, a document that ends in short lines, say.

    Where there are no two such sentences, and where the sample is a piece of a sentence, the row is
    ``[CLS] sample [SEP]`` without a label, and is counted.
    """

    def arrange(self, row: Row) -> Sequence[Example]:
        """As ``arrange_cut`` says."""
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
        """The row made of the two parts; ``rng`` is what else it draws from."""
        raise NotImplementedError


def room_beside(row: Row, first: Part) -> int:
    """Tokens that fit beside A and the special symbols of two texts."""
    return row.room - len(first) - row.data.layout.specials(2)


def _stretch(row: Row) -> tuple[Sample, int, int]:
    """The document of a row, and which of its sentences (first, end) are to be cut in two; none for a piece of one."""
    sample = row.sample
    text = row.data.sources[row.corpus].document(sample.document)
    offsets = text.sentence_offsets
    at = int(offsets.searchsorted(sample.start))
    if not np.array_equal(offsets[at : at + 2], sample.start + sample.sentence_offsets[:2]):
        return text, at, at
    first = at if sample.start == 0 else at + 1
    room = row.room - row.data.layout.specials(2)
    return text, first, int(offsets.searchsorted(offsets[first] + room, side="right")) - 1
