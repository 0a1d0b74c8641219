"""The hidden layers that are the features of the feature-based approach (BERT 5.3, Table 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from propeller.errors import UserError


@dataclass(frozen=True)
class FeatureSet:
    """Layers `first` to `last`, counted from the end of (embeddings, block 1, …, block L) if negative, and their use.

    alone: the single layer; concat: all layers concatenated; weighted: a learnt weighted mean of the layers.
    """

    first: int
    last: int
    use: Literal["alone", "concat", "weighted"]

    def layers(self, n_blocks: int) -> range:
        """Numbers of the layers in a model with this number of blocks; 0 is the embeddings.

        Raises:
            UserError: The model has too few blocks.
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
"""The feature sets, which are the six rows of the table."""
