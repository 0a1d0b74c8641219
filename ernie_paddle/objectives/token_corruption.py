"""Token corruption prediction ("On Losses …", section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ernie_paddle.objectives.base import Heads, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch
from ernie_paddle.objectives.shared.corruption import TextCorruption, changed_tokens
from ernie_paddle.objectives.shared.loss_terms import classification
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput

LABELS = "token_corruption_labels"


class TokenCorruption(TextCorruption):
    """Was this token inserted, replaced or permuted (1), or not (0)? Two classes for every token of the text.

    The text is that of :class:`TextCorruption`: about one token in twenty is corrupted. Tokens that an insertion merely
    moves on do not count as corrupted.
    """

    name = "token_corruption"
    summary = "On Losses: was this token inserted, replaced or permuted?"
    settings_type = ObjectiveSettings

    @property
    def inputs(self) -> Sequence[Input]:
        """``token_corruption_labels`` int64 [B, T]."""
        return [Input(LABELS, (None, None), "int64", pad=IGNORE, ignore=IGNORE)]

    def label(self, batch: Batch) -> Arrays:
        """1 on corrupted tokens, 0 on others."""
        return {LABELS: np.where(batch.tokens, changed_tokens(batch), IGNORE).astype(np.int64)}

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """Two classes for every token."""
        from ernie_paddle.models.heads import TokenClassifier

        return {self.name: TokenClassifier(config, 2, f"cls.{self.name}")}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the tokens."""
        logits_BT2 = heads[self.name](outputs)
        return [classification(self.name, logits_BT2, feeds[LABELS], LABELS, self.settings.weight)]
