"""Which hidden layers are the features of the feature-based approach (BERT 5.3, Table 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from propeller.errors import UserError


@dataclass(frozen=True)
class FeatureSet:
    """Layers `first` to `last`, counted from the end of (embeddings, block 1, …, block L) if negative, and their use.

    alone: the one layer; concat: all behind each other; weighted: a learnt mean of them.
    """

    first: int
    last: int
    use: Literal["alone", "concat", "weighted"]

    def layers(self, n_blocks: int) -> range:
        """Their numbers in a model of so many blocks; 0 is the embeddings.

        Raises:
            UserError: the model has too few blocks.
        """
        first, last = (number if number >= 0 else number + n_blocks + 1 for number in (self.first, self.last))
        if self.use != "alone" and first < 1:
            raise UserError(f"--features needs the last {-self.first} blocks, and this model has {n_blocks}")
        return range(first, last + 1)


FEATURES = {
    "embeddings": FeatureSet(0, 0, "alone"),
    "second_to_last": FeatureSet(-2, -2, "alone"),
    "last": FeatureSet(-1, -1, "alone"),
    "weighted_last4": FeatureSet(-4, -1, "weighted"),
    "concat_last4": FeatureSet(-4, -1, "concat"),
    "weighted_all": FeatureSet(1, -1, "weighted"),
}
"""The six rows of the table."""
