"""The protocol of tokenizers, and the arrays that they return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reader.tokenizers.vocab import Vocab

CONFIG_FILE = "tokenizer_config.json"


@dataclass(frozen=True)
class TokenBatch:
    """Tokens of several texts, one after the other, without special tokens.

    ids int32 [N]; flags uint8 [N], see reader.flags; offsets int64 [n_texts + 1]: text i has the tokens offsets[i] to
    offsets[i+1] - 1.
    """

    ids: NDArray[np.int32]
    flags: NDArray[np.uint8]
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class SpanBatch(TokenBatch):
    """Tokens with positions: token n stands for the characters begins[n] to ends[n] - 1 of its text; int32 [N] both.

    Positions never decrease within a text; tokens that share a character (such as parts of a Hangul syllable) overlap.
    """

    begins: NDArray[np.int32]
    ends: NDArray[np.int32]


class Tokenizer(Protocol):
    """Converts text to token ids with the flags of reader.flags; text that looks like a special token stays text."""

    vocab: Vocab

    def encode_batch(self, texts: Sequence[str]) -> TokenBatch:
        """Tokens of each text."""

    def encode_spans(self, texts: Sequence[str]) -> SpanBatch:
        """Tokens of each text, with the position of each token in its text."""

    def encode(self, text: str) -> list[int]:
        """Token ids of one text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Readable text of token ids; it may lack capitals and spaces of the original text."""

    def save(self, directory: str | Path) -> list[str]:
        """Writes the vocabulary file and tokenizer_config.json; returns the names of the files."""

    def config(self) -> dict[str, Any]:
        """The content of tokenizer_config.json."""
