"""Next sentence prediction (BERT, section 3.1, Task #2; "On Losses …", section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Example, Part, Row
from ernie_paddle.objectives.shared.pairs import CutPair

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder

NEXT, RANDOM = 0, 1


@dataclass(frozen=True)
class NspSettings(ObjectiveSettings):
    """Settings of next sentence prediction.

    Attributes:
        random_rate: Probability that B comes from another document.
    """

    random_rate: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.random_rate < 1:
            raise ValueError(f"random_rate must lie between 0 and 1, found {self.random_rate}")


class Nsp(CutPair[NspSettings]):
    """Does B follow A in the document (0), or does it come from another document (1)?

    A and B are consecutive texts, as described in ``CutPair``. With probability ``random_rate``, B is replaced by
    consecutive sentences of another document of the same corpus, those nearest in length (see ``drawn_text``): neither
    the length of a row nor the place where its text ends reveals its label. A row for which 16 draws find no such text
    has no label, so that a label is never wrong; it is counted.
    """

    name = "nsp"
    summary = "BERT: does the second text follow the first, or come from another document?"
    settings_type = NspSettings
    n_classes = 2

    def arrange_cut(self, row: Row, rng: np.random.Generator, first: Part, second: Part) -> Sequence[Example]:
        """``[CLS] A [SEP] B [SEP]``."""
        if rng.random() < self.settings.random_rate:
            return self.pair_with_other(row, rng, first, second, RANDOM)
        return self.pair(row, first, second, NEXT)

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """BERT's two-class head on the pooled [CLS]."""
        from ernie_paddle.models.heads import PooledClassifier

        return {"nsp": PooledClassifier(config, self.n_classes, "cls.seq_relationship")}
