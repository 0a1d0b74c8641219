"""The Quick-Thoughts variant ("On Losses …", section 3.2, item 13 and Figure 1; Logeswaran and Lee, 2018).

Shape suffixes: N samples of a micro-batch, B = 2N rows, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ernie_paddle.objectives.base import Heads, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch
from ernie_paddle.objectives.shared.batch_halves import BatchHalves, halves, unit
from ernie_paddle.objectives.shared.loss_terms import classification
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value

if TYPE_CHECKING:
    from ernie_paddle.models.encoder import EncoderOutput

# Far below any scaled cosine, and finite: without any pair in a micro-batch the softmax must not become NaN.
_NO_CANDIDATE = -1e9


@dataclass(frozen=True)
class QuickThoughtsSettings(ObjectiveSettings):
    """Settings of the Quick-Thoughts variant.

    Attributes:
        scale: Factor of the cosines before the softmax (the inverse of a temperature). The paper gives none, so it is
            1; the logits then lie in [-1, 1], and with N candidates the loss cannot fall below ln(1 + (N - 1) / e²).
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.scale <= 1000:
            raise ValueError(f"scale must lie between 0 and 1000, found {self.scale}")


class QuickThoughts(BatchHalves[QuickThoughtsSettings]):
    """Which text of the second half of the batch follows this one of the first half?

    The energy of two texts is the negative cosine of their [CLS] vectors (after the pooler, as in the released code);
    the softmax over the second half makes it a classification whose classes are the texts. Rows that are not in a pair
    are not candidates.

    The candidates are those of the micro-batch. The losses and gradients of other objectives do not depend on the split
    into micro-batches; those of this one do: more rows in a micro-batch make the task harder and better, and the number
    of ranks matters if it changes the split. A micro-batch with a single pair has no other candidates: its pair has no
    label and is counted. Batch sizes that can never hold two samples are refused.
    """

    name = "quick_thoughts"
    summary = "On Losses: which text of the batch's second half follows this one of its first half?"
    settings_type = QuickThoughtsSettings
    min_samples = 2

    @property
    def inputs(self) -> Sequence[Input]:
        """``quick_thoughts_labels`` int64 [N]: i for the i-th sample if it is a pair."""
        return [Input(self.label_name, (None,), "int64", ignore=IGNORE)]

    def label(self, batch: Batch) -> Arrays:
        """The label of every pair is its own number, as row N + i follows row i."""
        count = len(batch.examples) // 2
        paired = np.array([self.label_name in example.labels for example in batch.examples[:count]])
        if paired.sum() == 1:
            batch.rows[int(paired.argmax())].note(
                "quick_thoughts: the only pair of a micro-batch has no other candidates, left without a label"
            )
            paired[:] = False
        return {self.label_name: np.where(paired, np.arange(count), IGNORE)}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the pairs."""
        first_NH, second_NH = halves(unit(outputs.pooled_BH))
        labels_N = feeds[self.label_name]
        absent_N = (labels_N == IGNORE).astype("float32")
        logits_NN = self.settings.scale * first_NH.matmul(second_NH, transpose_y=True) + _NO_CANDIDATE * absent_N
        return [classification(self.name, logits_NN, labels_N, self.label_name, self.settings.weight)]
