"""The FastSent variant ("On Losses …", section 3.2, item 14; Hill et al., 2016).

Shape suffixes: N samples of a micro-batch, B = 2N rows, T tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ernie_paddle.objectives.base import Heads, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch
from ernie_paddle.objectives.shared.batch_halves import BatchHalves, halves, unit
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value

if TYPE_CHECKING:
    from ernie_paddle.models.encoder import EncoderOutput

# Keeps the gradient finite where a cosine is -1.
_EPSILON = 1e-6


class FastSent(BatchHalves[ObjectiveSettings]):
    """Bring the [CLS] vector of a text near the token vectors of the text that follows it, and vice versa.

    The paper uses the "cross-entropy between 1.0 and the cosine similarity". A cosine lies in [-1, 1] and is not a
    probability, so this is read as the cross-entropy between the probability p = (1 + cosine) / 2 that the two belong
    together and the target 1: -ln p, which is 0 at cosine 1 and grows without bound towards -1. (The released code
    regresses the cosine to 1, which has the same optimum.) [CLS] vectors are those after the pooler. Every token of the
    text is a label, masked or not; [CLS], [SEP] and padding are not.

    There are no negatives: on its own, the loss is also minimal where all vectors are equal. It should be combined with
    another objective that distinguishes tokens, such as mlm, as in the paper's training.
    """

    name = "fast_sent"
    summary = "On Losses: the [CLS] vector of a text is near the token vectors of the text before or after it"
    settings_type = ObjectiveSettings

    @property
    def inputs(self) -> Sequence[Input]:
        """``fast_sent_labels`` int64 [B, T]: 1 on the tokens of pairs."""
        return [Input(self.label_name, (None, None), "int64", pad=IGNORE, ignore=IGNORE)]

    def label(self, batch: Batch) -> Arrays:
        """1 on every token of the text of a pair."""
        paired_B = np.array([self.label_name in example.labels for example in batch.examples])
        return {self.label_name: np.where(batch.tokens & paired_B[:, None], 1, IGNORE).astype(np.int64)}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """-ln((1 + cosine) / 2) summed over the tokens."""
        import paddle

        first_NH, second_NH = halves(unit(outputs.pooled_BH))
        other_BH = paddle.concat([second_NH, first_NH])
        cosines_BT = unit(outputs.hidden_BTH).matmul(other_BH.unsqueeze(-1)).squeeze(-1)
        losses_BT = -paddle.log((1 + cosines_BT) / 2 + _EPSILON)
        counted_BT = (feeds[self.label_name] != IGNORE).astype("float32")
        return [LossTerm(self.name, (losses_BT * counted_BT).sum(), self.label_name, self.settings.weight)]
