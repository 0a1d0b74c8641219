"""Pairs of texts ``[CLS] A [SEP] B [SEP]``, as the objectives that classify them share it (BERT, section 3.1, Task #2).

Length must not tell the class: a B that is drawn from elsewhere has about the length of the B that it stands for, and
starts where that many tokens follow, as far as there are such places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ernie_paddle.objectives.base import IGNORE, Objective, ObjectiveSettings, default_arrangement
from ernie_paddle.objectives.example import Example, Part, Row, assemble, sentences
from ernie_paddle.objectives.graph import classification
from propeller.inputs import Input
from propeller.losses import LossTerm, Value
from reader.samples import Sample

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput
    from ernie_paddle.pretraining_model import PretrainingModel

# In a corpus of many documents one draw nearly always finds another document; in one of few, sixteen do.
_TRIES = 16

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
        return [assemble([first, second], row.data.vocab, {} if label is None else {self.labels: label})]

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """The classes on the pooled [CLS]."""
        from ernie_paddle.models.heads import PooledClassifier

        return {self.name: PooledClassifier(config, self.n_classes, f"cls.{self.name}")}

    def loss(self, model: PretrainingModel, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the rows that have a label."""
        logits_BK = model.heads[self.name](outputs)
        return [classification(self.name, logits_BK, feeds[self.labels], self.labels, self.settings.weight)]


class CutPair(SentencePair[P]):
    """A pair of the two parts of a sample of at least two sentences, which is cut at a random sentence boundary.

    A sample of one sentence has no boundary: its row is ``[CLS] sample [SEP]`` without a label, and is counted.
    """

    def arrange(self, row: Row) -> Sequence[Example]:
        """As ``arrange_cut`` says."""
        count = len(row.sample.sentence_offsets) - 1
        if count < 2:
            row.note(f"{self.name}: a sample of one sentence has no A and B, left without a label")
            return [default_arrangement(row)]
        rng = row.generator(self.name)
        cut = int(rng.integers(1, count))
        return self.arrange_cut(row, rng, sentences(row.sample, 0, cut), sentences(row.sample, cut, count))

    def arrange_cut(self, row: Row, rng: np.random.Generator, first: Part, second: Part) -> Sequence[Example]:
        """The row made of the two parts; ``rng`` is what else it draws from."""
        raise NotImplementedError


def room_beside(row: Row, first: Part) -> int:
    """Tokens that fit beside A, [CLS] and two [SEP]."""
    return row.room - len(first) - 3


def draw_other_document(row: Row, rng: np.random.Generator, room: int, length: int) -> Part | None:
    """Consecutive sentences of another document of the row's corpus; None if 16 draws found none.

    Args:
        row: whose corpus is drawn from.
        rng: of the draws.
        room: tokens that fit.
        length: tokens that are wanted.
    """
    source = row.data.sources[row.corpus]
    for number in rng.integers(len(source), size=_TRIES):
        document = source.sample(int(number)).document
        if document != row.sample.document:
            text = source.document(document)
            return stretch(text, [(0, len(text.sentence_offsets) - 1)], rng, room, length)
    return None


def stretch(text: Sample, spans: Sequence[tuple[int, int]], rng: np.random.Generator, room: int, length: int) -> Part:
    """Consecutive sentences inside one of the spans, from a random sentence on, of about ``length`` tokens.

    Sentences after which less than ``length`` is left of their span are drawn only if there are no others: then the
    span with the most tokens is taken from its first sentence on.

    Args:
        text: a document.
        spans: sentences (first, end) of the text that may be taken; none is empty.
        rng: of the draw.
        room: tokens that fit.
        length: tokens that are wanted.
    """
    offsets = text.sentence_offsets
    # Of every span, how many of its first sentences have enough after them.
    enough = [int(offsets[first:end].searchsorted(offsets[end] - length, side="right")) for first, end in spans]
    if sum(enough) == 0:
        first, end = max(spans, key=lambda span: int(offsets[span[1]] - offsets[span[0]]))
        return nearest(text, first, end, room, length)
    drawn = int(rng.integers(sum(enough)))
    for (first, end), count in zip(spans, enough, strict=True):
        if drawn < count:
            return nearest(text, first + drawn, end, room, length)
        drawn -= count
    raise AssertionError("the draw lies in one of the spans")


def nearest(text: Sample, first: int, end: int, room: int, length: int) -> Part:
    """Sentences from ``first`` on, before ``end``: as many as come nearest to ``length`` and fit into ``room``.

    The first of them is cut if it alone does not fit.
    """
    offsets = text.sentence_offsets
    end = min(end, int(offsets.searchsorted(offsets[first] + room, side="right")) - 1)
    if end <= first:
        part = sentences(text, first, first + 1)
        return Part(part.tokens[:room], part.flags[:room], part.document)
    lengths = offsets[first + 1 : end + 1] - offsets[first]
    return sentences(text, first, first + 1 + int(np.abs(lengths - length).argmin()))
