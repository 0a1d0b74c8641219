"""The base of masked language modelling objectives, which differ in their units (BERT, section 3.1, Task #1).

Shape suffixes: M masked positions of a micro-batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch, Data
from ernie_paddle.objectives.shared.loss_terms import classification
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value
from reader.batches.masking import MaskingRule, batch_unit_starts, mask_batch
from reader.random import fold

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput

POSITIONS, LABELS = "mlm_positions", "mlm_labels"
MASKED = "masked_positions"
"""Key in ``Batch.noted`` of the positions that an objective of this kind masked, as in ``mlm_positions``."""


@dataclass(frozen=True)
class MaskingSettings(ObjectiveSettings):
    """Settings of masking.

    Attributes:
        rate: Share of the tokens that are predicted.
        mask: Share of these that become [MASK].
        random: Share of these that become a random token; the rest is kept as it is.
    """

    rate: float = 0.15
    mask: float = 0.8
    random: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate < 1:
            raise ValueError(f"rate must lie between 0 and 1, found {self.rate}")
        if min(self.mask, self.random) < 0 or self.mask + self.random > 1:
            raise ValueError(f"mask and random must be shares of 1, found {self.mask} and {self.random}")


M = TypeVar("M", bound=MaskingSettings)


class MaskedLM(Objective[M]):
    """Predict the tokens of masked units. Subclasses define the units.

    Masking is dynamic: it depends on (seed, epoch, sample). The logits over the vocabulary are
    computed at the masked positions only, with the word embedding as the output matrix.
    """

    @property
    def granularities(self) -> dict[str, float]:
        """Relative frequency of each granularity of units (``reader.flags``) among the rows."""
        raise NotImplementedError

    @property
    def inputs(self) -> Sequence[Input]:
        """``mlm_positions`` int64 [M], flat positions b*T + t, and ``mlm_labels`` int64 [M]."""
        return [Input(POSITIONS, (None,), "int64"), Input(LABELS, (None,), "int64", ignore=IGNORE)]

    def _bind(self, data: Data) -> None:
        """Set the rates and the vocabulary of the masking."""
        self._rule = MaskingRule(
            vocab_size=data.vocab.size,
            mask_id=data.vocab.mask,
            special_ids=data.vocab.special_ids,
            rate=self.settings.rate,
            mask=self.settings.mask,
            random=self.settings.random,
            granularities=self.granularities,
        )

    def label(self, batch: Batch) -> Arrays:
        """Mask whole units of every row; tokens that another objective corrupted are not masked."""
        keys = fold(batch.keys, self.name)
        starts = batch_unit_starts(batch.flags, keys, self._rule)
        masked = mask_batch(batch.ids, starts, batch.tokens & ~batch.corrupted, keys, self._rule)
        batch.ids = masked.ids
        batch.corrupted.reshape(-1)[masked.positions] = True
        batch.noted[MASKED] = masked.positions
        return {POSITIONS: masked.positions, LABELS: masked.labels}

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """The MLM head, tied to the word embedding."""
        from ernie_paddle.models.heads import MaskedLMHead

        return {"mlm": MaskedLMHead(config, encoder.embeddings.word.weight)}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the masked positions."""
        from ernie_paddle.models.heads import gather_positions

        logits_MV = heads["mlm"](gather_positions(outputs.hidden_BTH, feeds[POSITIONS]))
        return [classification("mlm", logits_MV, feeds[LABELS], LABELS, self.settings.weight)]
