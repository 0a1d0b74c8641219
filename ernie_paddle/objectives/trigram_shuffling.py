"""Trigram shuffling ("On Losses …", section 3.2; the word structural objective of StructBERT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch
from ernie_paddle.objectives.shared.corruption import Bools, free_tokens, later, record, unmoved
from ernie_paddle.objectives.shared.loss_terms import classification
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput

LABELS = "trigram_shuffling_labels"
_ORDERS = np.array(list(permutations(range(3))))


@dataclass(frozen=True)
class TrigramShufflingSettings(ObjectiveSettings):
    """Settings of trigram shuffling.

    Attributes:
        rate: Probability that a trigram is shuffled, if it does not overlap a shuffled one before it.
    """

    rate: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must lie above 0 and be at most 1, found {self.rate}")


class TrigramShuffling(Objective[TrigramShufflingSettings]):
    """In which order do these three tokens belong? Six classes, on the third token of every shuffled trigram.

    A walk from left to right shuffles, with probability ``rate``, each trigram of three different tokens of one text
    that no other objective has marked and that does not overlap the last shuffled one. All six orders are equally
    likely, the original one included, and a class is the lexicographic number of the presented order, whose i-th entry
    is the original place (0, 1 or 2) of the token shown at place i: 0 is 012 (as it was), 1 is 021, 2 is 102, 3 is 120,
    4 is 201, 5 is 210. (Trigrams with two equal tokens look the same in two orders.)
    """

    name = "trigram_shuffling"
    summary = "On Losses: in which order do these three shuffled tokens belong?"
    settings_type = TrigramShufflingSettings

    @property
    def inputs(self) -> Sequence[Input]:
        """``trigram_shuffling_labels`` int64 [B, T]."""
        return [Input(LABELS, (None, None), "int64", pad=IGNORE, ignore=IGNORE)]

    def corrupt(self, batch: Batch) -> None:
        """Draw trigrams and shuffle them."""
        length = batch.ids.shape[1]
        starts = _trigrams(batch) & (batch.uniforms(f"{self.name} places", length) < self.settings.rate)
        rows, places = np.nonzero(disjoint(starts))
        classes = (batch.uniforms(f"{self.name} orders", length)[rows, places] * len(_ORDERS)).astype(np.int64)
        source, chosen = unmoved(batch), np.zeros(starts.shape, np.bool_)
        for i in range(3):
            source[rows, places + i] = places + _ORDERS[classes, i]
            chosen[rows, places + i] = True
        record(batch, chosen, source != unmoved(batch))
        batch.move(source)
        batch.noted[LABELS] = np.full(starts.shape, IGNORE, np.int64)
        batch.noted[LABELS][rows, places + 2] = classes

    def label(self, batch: Batch) -> Arrays:
        """The classes that :meth:`corrupt` stored; no other objective moves these tokens."""
        return {LABELS: batch.noted[LABELS]}

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """Six classes for every token."""
        from ernie_paddle.models.heads import TokenClassifier

        return {self.name: TokenClassifier(config, len(_ORDERS), f"cls.{self.name}")}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the shuffled trigrams."""
        logits_BT6 = heads[self.name](outputs)
        return [classification(self.name, logits_BT6, feeds[LABELS], LABELS, self.settings.weight)]


def _trigrams(batch: Batch) -> Bools:
    """bool [B, T]: the starts of three different free tokens of one text."""
    free, ids = free_tokens(batch), batch.ids
    second, third = later(ids, 1), later(ids, 2)
    found: Bools = free & later(free, 1) & later(free, 2) & (ids != second) & (ids != third) & (second != third)
    return found


def disjoint(starts: Bools) -> Bools:
    """The starts of trigrams [B, T] that a walk from left to right takes if it skips overlapping ones."""
    taken, left = np.zeros_like(starts), starts.copy()
    while left.any():  # every round takes the first remaining start of each row, and all starts far from others
        now = left.copy()
        for n in (1, 2):
            now[:, n:] &= ~left[:, :-n]
        taken |= now
        left &= ~now
        for n in (1, 2):
            left[:, n:] &= ~now[:, :-n]
    return taken
