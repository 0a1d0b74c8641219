"""Next sentence prediction (BERT, section 3.1, Task #2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ernie_paddle.objectives.base import IGNORE, Objective, ObjectiveSettings, default_arrangement
from ernie_paddle.objectives.example import Example, Part, Row, assemble, sentences
from ernie_paddle.objectives.graph import classification
from propeller.inputs import Input
from propeller.losses import LossTerm, Value

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput
    from ernie_paddle.pretraining_model import PretrainingModel

LABELS = "nsp_labels"
NEXT, RANDOM = 0, 1
# In a corpus of many documents one draw nearly always finds another document; in one of few, sixteen do.
_TRIES = 16


@dataclass(frozen=True)
class NspSettings(ObjectiveSettings):
    """Settings of next sentence prediction.

    Attributes:
        random_rate: how often B comes from another document.
    """

    random_rate: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.random_rate < 1:
            raise ValueError(f"random_rate must lie between 0 and 1, found {self.random_rate}")


class Nsp(Objective[NspSettings]):
    """Does B follow A in the document (0), or does it come from another document (1)?

    A sample of at least two sentences is cut at a random sentence boundary into A and B. With ``random_rate``, B is
    replaced by consecutive sentences of another document of the same corpus, from a random sentence on: as many as
    come nearest to the length of the true B, so that the length of a row does not tell its label (the first of them
    cut if it alone does not fit). A sample of one sentence has no boundary: its row is
    ``[CLS] sample [SEP]`` without a label. Where no other document is found in 16 draws the true B stays, so that a
    label is never wrong. Both are counted.
    """

    name = "nsp"
    summary = "BERT: does the second text follow the first, or come from another document?"
    settings_type = NspSettings
    arranges = True
    pooled = True

    @property
    def inputs(self) -> Sequence[Input]:
        """``nsp_labels`` int64 [B]."""
        return [Input(LABELS, (None,), "int64", ignore=IGNORE)]

    @property
    def max_parts(self) -> int:
        """A and B."""
        return 2

    def arrange(self, row: Row) -> Sequence[Example]:
        """``[CLS] A [SEP] B [SEP]``."""
        count = len(row.sample.sentence_offsets) - 1
        if count < 2:
            row.note("nsp: a sample of one sentence has no A and B, left without a label")
            return [default_arrangement(row)]
        rng = row.generator(self.name)
        cut = int(rng.integers(1, count))
        first, second, label = sentences(row.sample, 0, cut), sentences(row.sample, cut, count), NEXT
        if rng.random() < self.settings.random_rate:
            other = draw_other_document(row, rng, room=row.room - len(first) - 3, length=len(second))
            if other is None:
                row.note("nsp: no other document found, the true next text kept")
            else:
                second, label = other, RANDOM
        return [assemble([first, second], row.data.vocab, {LABELS: label})]

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """BERT's two-class head on the pooled [CLS]."""
        from ernie_paddle.models.heads import PooledClassifier

        return {"nsp": PooledClassifier(config, 2, "cls.seq_relationship")}

    def loss(self, model: PretrainingModel, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the rows that have a label."""
        logits_B2 = model.heads["nsp"](outputs)
        return [classification(self.name, logits_B2, feeds[LABELS], LABELS, self.settings.weight)]


def draw_other_document(row: Row, rng: np.random.Generator, room: int, length: int) -> Part | None:
    """Consecutive sentences of another document of the row's corpus; None if none was found.

    Args:
        row: whose corpus is drawn from.
        rng: of the draws.
        room: tokens that fit.
        length: tokens that are wanted.
    """
    source = row.data.sources[row.corpus]
    for number in rng.integers(len(source), size=_TRIES):
        other = source.sample(int(number))
        if other.document != row.sample.document:
            offsets = other.sentence_offsets
            start = int(rng.integers(len(offsets) - 1))
            lengths = offsets[start + 1 :] - offsets[start]
            fitting = lengths[lengths <= room]
            if len(fitting) == 0:
                part = sentences(other, start, start + 1)
                return Part(part.tokens[:room], part.flags[:room], part.document)
            return sentences(other, start, start + 1 + int(np.abs(fitting - length).argmin()))
    return None
