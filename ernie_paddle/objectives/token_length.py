"""Token length prediction ("On Losses for Modern Language Models", section 3.2, item 7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Batch, Data
from ernie_paddle.objectives.shared.token_regression import TokenRegression
from propeller.graph.inputs import IGNORE
from reader.tokenizers.vocab import Vocab


class TokenLength(TokenRegression[ObjectiveSettings]):
    """Predict how many characters a token has: without WordPiece's ``##`` or SentencePiece's mark of a space.

    All tokens of the text count, including masked ones (with the original token). [UNK] does not count, as its length
    is unknown, nor do [CLS], [SEP] and padding.
    """

    name = "token_length"
    summary = "On Losses: how many characters has this token? (regression)"
    settings_type = ObjectiveSettings

    def _bind(self, data: Data) -> None:
        """The length of every piece."""
        self._lengths = piece_lengths(data.vocab)

    def measure(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The lengths of the original tokens."""
        places = np.flatnonzero(batch.tokens)
        return places, self._lengths[batch.original.reshape(-1)[places]]


def piece_lengths(vocab: Vocab) -> NDArray[np.float32]:
    """Characters of each piece, float32 [V]; IGNORE for special symbols."""
    lengths = np.array([len(piece.removeprefix("##").removeprefix("▁")) for piece in vocab.pieces], np.float32)
    lengths[list(vocab.special_ids)] = IGNORE
    return lengths
