"""The boundary objective ("On Losses for Modern Language Models", section 3.2, item 3; SpanBERT, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.objectives.base import Heads
from ernie_paddle.objectives.rows import Batch
from ernie_paddle.objectives.shared.loss_terms import classification
from ernie_paddle.objectives.shared.masked_lm import MASKED, MaskedLM, MaskingSettings
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput

LEFT, RIGHT, PLACES, LABELS = "sbo_left", "sbo_right", "sbo_places", "sbo_labels"


@dataclass(frozen=True)
class SboSettings(MaskingSettings):
    """Settings of the boundary objective; those of masking only apply if no other objective of the task masks.

    Attributes:
        max_span: Number of places within a span that have a vector of their own; later places share the last one.
    """

    max_span: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_span < 1:
            raise ValueError(f"max_span must be 1 or more, found {self.max_span}")


class Sbo(MaskedLM[SboSettings]):
    """Predict masked tokens from the encoder's outputs at the tokens next to them.

    If ``mlm`` or ``knowledge_masking`` is in the same task, in any order, its masks are used; otherwise this objective
    masks word pieces itself. A span is a run of neighbouring tokens that were chosen for masking, whichever units they
    belong to (including tokens that were then kept or replaced by random tokens). Its boundaries are the tokens before
    and after it, or [CLS] and [SEP] at the ends, so a boundary is never a token to predict.

    For spans of one token this is the objective of "On Losses": predict a token from its two neighbours. Tokens of
    longer spans have the same boundaries and are distinguished by their place in the span, as in SpanBERT. The matrix
    over the vocabulary is the word embedding; the layers before it belong to this objective.
    """

    name = "sbo"
    summary = "On Losses: predict masked tokens from the outputs at the tokens next to them"
    settings_type = SboSettings
    reads_masks = True

    @property
    def granularities(self) -> dict[str, float]:
        """Word pieces, if this objective masks itself."""
        return {"token": 1.0}

    @property
    def inputs(self) -> Sequence[Input]:
        """int64 [M] each: flat positions b*T + t of both boundaries, places in the spans from 0, and labels."""
        names = (LEFT, RIGHT, PLACES)
        return [*(Input(name, (None,), "int64") for name in names), Input(LABELS, (None,), "int64", ignore=IGNORE)]

    def label(self, batch: Batch) -> Arrays:
        """The boundaries, places and labels of the masked spans."""
        if MASKED not in batch.noted:
            super().label(batch)
        positions = batch.noted[MASKED]
        left, right = boundaries(positions)
        return {
            LEFT: left,
            RIGHT: right,
            PLACES: np.minimum(positions - left, self.settings.max_span) - 1,
            LABELS: batch.original.reshape(-1)[positions],
        }

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """The boundary head, tied to the word embedding."""
        from ernie_paddle.models.heads import SpanBoundaryHead

        words_VH = encoder.embeddings.word.weight
        return {self.name: SpanBoundaryHead(config, self.settings.max_span, words_VH, f"cls.{self.name}")}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the masked positions."""
        from ernie_paddle.models.heads import gather_positions

        left_MH, right_MH = (gather_positions(outputs.hidden_BTH, feeds[name]) for name in (LEFT, RIGHT))
        logits_MV = heads[self.name](left_MH, right_MH, feeds[PLACES])
        return [classification(self.name, logits_MV, feeds[LABELS], LABELS, self.settings.weight)]


def boundaries(positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places before and after the run of neighbours of each of the ascending positions [M].

    A run never crosses rows, because rows begin with [CLS], which is never masked.
    """
    first = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
    sizes = np.diff(first, append=len(positions))
    left = positions[first] - 1
    return np.repeat(left, sizes), np.repeat(left + sizes + 1, sizes)
