"""Sentence reordering (ERNIE 2.0, "Structure-aware Pre-training Tasks")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from math import factorial
from typing import TYPE_CHECKING

from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Example, Row, assemble, sentences
from ernie_paddle.objectives.shared.loss_terms import classification
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Value

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput

LABELS = "sentence_reordering_labels"


@dataclass(frozen=True)
class SentenceReorderingSettings(ObjectiveSettings):
    """Settings of sentence reordering.

    Attributes:
        max_segments: The m of the paper; there are 1! + 2! + ... + m! classes.
    """

    max_segments: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.max_segments <= 6:
            raise ValueError(f"max_segments must lie between 2 and 6 (873 classes), found {self.max_segments}")


class SentenceReordering(Objective[SentenceReorderingSettings]):
    """In which order do these segments of a paragraph belong?

    A sample is split at random sentence boundaries into n segments, n uniform in 1..m (or in 1..number of
    sentences, if that is less), which are shown in a uniformly random order:
    ``[CLS] segment [SEP] segment [SEP] ...``, the i-th shown with segment id i (Figure 3 of the paper). The class
    encodes n and the permutation. A sample of one sentence can only have class 0; such samples are counted.

    The paper does not number the classes. This implementation orders them by n, then by the lexicographic order of the
    presented permutation, whose i-th entry is the original index of the segment shown at place i.
    """

    name = "sentence_reordering"
    summary = "ERNIE 2.0: which permutation shuffled the segments of this paragraph?"
    settings_type = SentenceReorderingSettings
    arranges = True
    pooled = True

    @property
    def inputs(self) -> Sequence[Input]:
        """``sentence_reordering_labels`` int64 [B]."""
        return [Input(LABELS, (None,), "int64", ignore=IGNORE)]

    @property
    def max_parts(self) -> int:
        """The maximum number of segments, m."""
        return self.settings.max_segments

    def arrange(self, row: Row) -> Sequence[Example]:
        """The shuffled segments."""
        count = len(row.sample.sentence_offsets) - 1
        if count == 1:
            row.note("sentence_reordering: a sample of one sentence can only have class 0")
        rng = row.generator(self.name)
        n = int(rng.integers(1, min(self.settings.max_segments, count) + 1))
        cuts = [0, *sorted((rng.permutation(count - 1)[: n - 1] + 1).tolist()), count]
        order = tuple(rng.permutation(n).tolist())
        parts = [sentences(row.sample, cuts[i], cuts[i + 1]) for i in order]
        return [assemble(parts, row.data, {LABELS: class_numbers(self.settings.max_segments)[order]})]

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """One class per permutation, on the pooled [CLS]."""
        from ernie_paddle.models.heads import PooledClassifier

        return {self.name: PooledClassifier(config, n_classes(self.settings.max_segments), f"cls.{self.name}")}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the rows."""
        logits_BK = heads[self.name](outputs)
        return [classification(self.name, logits_BK, feeds[LABELS], LABELS, self.settings.weight)]


def n_classes(max_segments: int) -> int:
    """The number of classes, the sum of n! for n = 1..m."""
    return sum(factorial(n) for n in range(1, max_segments + 1))


@cache
def class_numbers(max_segments: int) -> dict[tuple[int, ...], int]:
    """Class of every presented order of 1..m segments."""
    orders = [order for n in range(1, max_segments + 1) for order in permutations(range(n))]
    return {order: number for number, order in enumerate(orders)}
