"""Sentence corruption prediction ("On Losses …", section 3.2)."""

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

LABELS = "sentence_corruption_labels"


class SentenceCorruption(TextCorruption):
    """Does this row contain inserted, replaced or permuted tokens (1), or not (0)?

    The text is that of :class:`TextCorruption`: half of the rows are corrupted. An objective that moves tokens in
    nearly every row (``trigram_shuffling``) leaves few rows of class 0, so it belongs in a separate task.
    """

    name = "sentence_corruption"
    summary = "On Losses: are tokens of this text inserted, replaced or permuted?"
    settings_type = ObjectiveSettings
    pooled = True

    @property
    def inputs(self) -> Sequence[Input]:
        """``sentence_corruption_labels`` int64 [B]."""
        return [Input(LABELS, (None,), "int64", ignore=IGNORE)]

    def label(self, batch: Batch) -> Arrays:
        """1 on rows with a corrupted token, 0 on others."""
        return {LABELS: np.any(changed_tokens(batch), axis=1).astype(np.int64)}

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """Two classes on the pooled [CLS]."""
        from ernie_paddle.models.heads import PooledClassifier

        return {self.name: PooledClassifier(config, 2, f"cls.{self.name}")}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the rows."""
        logits_B2 = heads[self.name](outputs)
        return [classification(self.name, logits_B2, feeds[LABELS], LABELS, self.settings.weight)]
