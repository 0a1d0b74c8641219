"""Token-document relation prediction (ERNIE 2.0, "Word-aware Pre-training Tasks")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch, Data
from ernie_paddle.objectives.shared.document_counts import DocumentCounts
from ernie_paddle.objectives.shared.loss_terms import classification
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput

LABELS = "token_document_labels"


class TokenDocument(Objective[ObjectiveSettings]):
    """Does this token occur in other segments of its document? Two classes for every token.

    A token's segment is all tokens of its row that come from the token's document (a row may hold texts of two
    documents); the other segments are the rest of that document, whether or not it ever becomes a row. A document of
    one segment has negative labels only. A masked token counts as its original; a moved or replaced token counts as the
    new one. [CLS], [SEP] and padding do not count.
    """

    name = "token_document"
    summary = "ERNIE 2.0: does this token occur in other segments of its document?"
    settings_type = ObjectiveSettings

    @property
    def inputs(self) -> Sequence[Input]:
        """``token_document_labels`` int64 [B, T]."""
        return [Input(LABELS, (None, None), "int64", pad=IGNORE, ignore=IGNORE)]

    def _bind(self, data: Data) -> None:
        """Prepare the lookup of documents."""
        self._counts = DocumentCounts(data)

    def label(self, batch: Batch) -> Arrays:
        """1 where the token occurs in the document outside the row, 0 on other tokens."""
        found = self._counts.look_up(batch)
        labels = np.full(batch.ids.shape, IGNORE, np.int64)
        labels.reshape(-1)[found.places] = found.outside > 0
        return {LABELS: labels}

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """Two classes for every token."""
        from ernie_paddle.models.heads import TokenClassifier

        return {self.name: TokenClassifier(config, 2, f"cls.{self.name}")}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the tokens."""
        logits_BT2 = heads[self.name](outputs)
        return [classification(self.name, logits_BT2, feeds[LABELS], LABELS, self.settings.weight)]
