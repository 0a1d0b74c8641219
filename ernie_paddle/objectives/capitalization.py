"""Capitalization prediction (ERNIE 2.0, "Word-aware Pre-training Tasks"; "On Losses …", section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch
from ernie_paddle.objectives.shared.loss_terms import classification
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value
from reader.flags import CAPITAL, UPPER

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput

LABELS = "capitalization_labels"


@dataclass(frozen=True)
class CapitalizationSettings(ObjectiveSettings):
    """Settings of capitalization prediction.

    Attributes:
        of: "word" (ERNIE 2.0): a token is positive if its word begins with a capital letter; "token" ("On Losses"): if
            the token itself has an upper-case character.
    """

    of: Literal["word", "token"] = "word"


class Capitalization(Objective[CapitalizationSettings]):
    """Was this word capitalized in the original text? Two classes for every token, for uncased vocabularies.

    All tokens of the text count, including those that another objective masked or replaced: their label is that of the
    original token, which must be predicted from the context. [CLS], [SEP] and padding do not count.
    """

    name = "capitalization"
    summary = "ERNIE 2.0: was this word capitalized in the original text?"
    settings_type = CapitalizationSettings

    @property
    def inputs(self) -> Sequence[Input]:
        """``capitalization_labels`` int64 [B, T]."""
        return [Input(LABELS, (None, None), "int64", pad=IGNORE, ignore=IGNORE)]

    def label(self, batch: Batch) -> Arrays:
        """1 where the flag is set, 0 on other tokens."""
        flag = CAPITAL if self.settings.of == "word" else UPPER
        return {LABELS: np.where(batch.tokens, (batch.flags & flag) != 0, IGNORE).astype(np.int64)}

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """Two classes for every token."""
        from ernie_paddle.models.heads import TokenClassifier

        return {self.name: TokenClassifier(config, 2, f"cls.{self.name}")}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the tokens."""
        logits_BT2 = heads[self.name](outputs)
        return [classification(self.name, logits_BT2, feeds[LABELS], LABELS, self.settings.weight)]
