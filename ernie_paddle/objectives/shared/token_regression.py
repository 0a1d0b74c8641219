"""The base of token-level regressions ("On Losses for Modern Language Models", section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch
from ernie_paddle.objectives.shared.loss_terms import regression
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder, EncoderOutput

S = TypeVar("S", bound=ObjectiveSettings)


class TokenRegression(Objective[S]):
    """Predict a number of at least 0 for every token by mean squared error. Subclasses define the number."""

    @property
    def labels(self) -> str:
        """Name of the only Input, the targets."""
        return f"{self.name}_labels"

    @property
    def inputs(self) -> Sequence[Input]:
        """``NAME_labels`` float32 [B, T]."""
        return [Input(self.labels, (None, None), "float32", pad=IGNORE, ignore=IGNORE)]

    def measure(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
        """Flat positions b*T + t of the tokens that have a target, int64 [N], and their targets [N]."""
        raise NotImplementedError

    def label(self, batch: Batch) -> Arrays:
        """The targets of all tokens of the batch; IGNORE for those without one."""
        places, values = self.measure(batch)
        targets = np.full(batch.ids.shape, IGNORE, np.float32)
        targets.reshape(-1)[places] = values
        return {self.labels: targets}

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """One number for every token."""
        from ernie_paddle.models.heads import TokenClassifier

        return {self.name: TokenClassifier(config, 1, f"cls.{self.name}")}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Squared error over the tokens."""
        predictions_BT = heads[self.name](outputs).squeeze(-1)
        return [regression(self.name, predictions_BT, feeds[self.labels], self.labels, self.settings.weight)]
