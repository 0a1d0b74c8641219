"""Pairs of texts that belong together; texts are encoded separately, each distinct text once.

Shape suffixes: U distinct texts, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.batches.rows import BERT_LAYOUT, Encoded, encode_rows
from reader.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class PairSet:
    """Pairs for evaluation; the rows are the distinct texts.

    Attributes:
        source: Name of the table.
        texts: Distinct texts [U].
        encoded: Rows of the texts.
        lines: First line of each text [U].
        pairs: Numbers of the two texts of each pair, int64 [P, 2].
        pair_lines: Line of each pair [P].
        problems: (line, reason) of unusable lines.
        pad_id: Id of [PAD].
    """

    source: str
    texts: list[str]
    encoded: Encoded
    lines: list[int]
    pairs: NDArray[np.int64]
    pair_lines: list[int]
    problems: list[tuple[int, str]]
    pad_id: int

    def __len__(self) -> int:
        """The number of distinct texts."""
        return len(self.texts)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Length of each text in the model's input."""
        return self.encoded.lengths

    @property
    def mistakes(self) -> list[tuple[int, str]]:
        """All of `problems`."""
        return self.problems

    @property
    def uncounted(self) -> int:
        """The number of unusable lines."""
        return len(self.problems)

    @property
    def examples(self) -> int:
        """The number of pairs."""
        return len(self.pairs)

    def describe(self) -> str:
        """The numbers of pairs and distinct texts."""
        return f"{len(self.pairs):,} pairs of {len(self):,} distinct texts"

    def for_training(self) -> TrainingPairs:
        """The same pairs for training; the rows are the pairs."""
        return TrainingPairs(self)

    def content(self) -> list[NDArray[Any]]:
        """The pieces and pairs."""
        return [self.encoded.ids, self.pairs]


@dataclass(frozen=True)
class TrainingPairs:
    """Pairs for training; the rows are the pairs."""

    of: PairSet

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.of.pairs)

    @property
    def source(self) -> str:
        """Name of the table."""
        return self.of.source

    @property
    def lines(self) -> Sequence[int]:
        """The line of each pair."""
        return self.of.pair_lines

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Length of both texts of each pair together."""
        lengths: NDArray[np.int32] = self.of.lengths[self.of.pairs].sum(axis=1, dtype=np.int32)
        return lengths

    @property
    def problems(self) -> Sequence[tuple[int, str]]:
        """(line, reason) of unusable lines."""
        return self.of.problems

    @property
    def mistakes(self) -> Sequence[tuple[int, str]]:
        """All of `problems`."""
        return self.of.mistakes

    @property
    def uncounted(self) -> int:
        """The number of unusable lines."""
        return self.of.uncounted

    @property
    def examples(self) -> int:
        """The number of pairs."""
        return len(self)

    def describe(self) -> str:
        """The numbers of pairs and distinct texts."""
        return self.of.describe()

    def for_training(self) -> TrainingPairs:
        """The data itself."""
        return self

    def content(self) -> list[NDArray[Any]]:
        """The pieces and pairs."""
        return self.of.content()


def encode_pairs(
    source: str,
    pairs: Sequence[tuple[int, str, str]],
    problems: list[tuple[int, str]],
    tokenizer: Tokenizer,
    max_length: int,
) -> PairSet:
    """Number the distinct texts of pairs (line, text, text) and encode each as [CLS] text [SEP]."""
    numbers: dict[str, int] = {}
    lines: list[int] = []
    found = np.empty((len(pairs), 2), np.int64)
    for row, (line, *texts) in enumerate(pairs):
        for side, text in enumerate(texts):
            found[row, side] = numbers.setdefault(text, len(numbers))
            if len(lines) < len(numbers):
                lines.append(line)
    return PairSet(
        source=source,
        texts=list(numbers),
        encoded=encode_rows(tokenizer, list(numbers), None, max_length, BERT_LAYOUT),
        lines=lines,
        pairs=found,
        pair_lines=[line for line, _, _ in pairs],
        problems=problems,
        pad_id=tokenizer.vocab.pad,
    )
