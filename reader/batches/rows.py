"""One or two texts per row as model inputs: [CLS] A [SEP], or [CLS] A [SEP] B [SEP] with segments 0 and 1 (BERT 3.2).

The number of [SEP] between two texts depends on the model: `RowLayout` holds it, and counts the special symbols where
the room for text is computed.

Arrays are flat (all rows concatenated, with offsets), and rows are cut, joined and padded without a loop over rows.
Shape suffixes: N tokens of all rows, R rows, B rows of a batch, T length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError
from reader.lengths import truncate_pair
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.vocab import Vocab

_BLOCK_ROWS = 1 << 14


@dataclass(frozen=True)
class RowLayout:
    """The layout of the texts of a row: [CLS] A [SEP] B [SEP] … [SEP].

    Attributes:
        separators: number of [SEP] between two texts: 1 (BERT, ERNIE), or 2 (ERNIE-M and XLM-R). One [SEP] follows the
            last text.
    """

    separators: int = 1

    def __post_init__(self) -> None:
        if self.separators not in (1, 2):
            raise DataError(f"a row has 1 or 2 separators between its texts, not {self.separators!r}")

    def specials(self, texts: int) -> int:
        """The number of special symbols in a row of `texts` texts."""
        return 2 + self.separators * (texts - 1)

    def text_start(self, kept: Sequence[Any], text: int) -> Any:
        """The position in a row of the first token of text number `text`; `kept`: lengths of the texts before it."""
        return 1 + sum(kept[:text]) + self.separators * text


BERT_LAYOUT = RowLayout()
"""The layout of BERT and ERNIE."""


@dataclass(frozen=True)
class Encoded:
    """Rows ready to be padded: `ids` int32 [N] and `segments` uint8 [N] with [CLS] and [SEP]; `offsets` int64 [R+1]."""

    ids: NDArray[np.int32]
    segments: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Length of each row, [CLS] and [SEP] included: int32 [R]."""
        return np.diff(self.offsets).astype(np.int32)

    def take(self, rows: NDArray[np.int64]) -> Encoded:
        """The given rows, in the given order."""
        lengths = np.diff(self.offsets)[rows]
        places = ranges(self.offsets[rows], lengths)
        return Encoded(self.ids[places], self.segments[places], np.concatenate([[0], np.cumsum(lengths)]))


def encode_rows(
    tokenizer: Tokenizer, texts_a: Sequence[str], texts_b: Sequence[str] | None, max_length: int, layout: RowLayout
) -> Encoded:
    """Tokenise, truncate rows to `max_length` (pairs lose tokens of their longer text) and add [CLS] and [SEP]."""
    runs_a = _runs(tokenizer, texts_a)
    if texts_b is None:
        runs_a = Runs(runs_a.ids, runs_a.starts, np.minimum(runs_a.lengths, max_length - layout.specials(1)))
        return join_runs(tokenizer.vocab, layout, runs_a)
    runs_b = _runs(tokenizer, texts_b)
    lengths_a, lengths_b = truncate_pair(runs_a.lengths, runs_b.lengths, max_length - layout.specials(2))
    runs_a = Runs(runs_a.ids, runs_a.starts, lengths_a)
    return join_runs(tokenizer.vocab, layout, runs_a, Runs(runs_b.ids, runs_b.starts, lengths_b))


def _runs(tokenizer: Tokenizer, texts: Sequence[str]) -> Runs:
    """The tokens of each text; equal texts, such as a passage with many questions, are tokenised once."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    batch = tokenizer.encode_batch(list(numbers))
    rows = np.fromiter(map(numbers.__getitem__, texts), np.int64, len(texts))
    return Runs(batch.ids, batch.offsets[rows], np.diff(batch.offsets).astype(np.int64)[rows])


@dataclass(frozen=True)
class Runs:
    """A run of tokens for each row: lengths[row] tokens from ids[starts[row]] on; ids int32 [N], others int64 [R]."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def take(self, rows: slice) -> Runs:
        """The given rows."""
        return Runs(self.ids, self.starts[rows], self.lengths[rows])


def join_runs(vocab: Vocab, layout: RowLayout, a: Runs, b: Runs | None = None) -> Encoded:
    """Rows [CLS] A [SEP], or [CLS] A [SEP] B [SEP] with as many [SEP] between A and B as the layout says."""
    n_rows = len(a.lengths)
    if n_rows > _BLOCK_ROWS:
        # The positions computed below take several times the memory of the rows themselves.
        blocks = [slice(start, start + _BLOCK_ROWS) for start in range(0, n_rows, _BLOCK_ROWS)]
        parts = [join_runs(vocab, layout, a.take(rows), None if b is None else b.take(rows)) for rows in blocks]
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.offsets) for part in parts]))])
        ids, segments = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "segments"))
        return Encoded(ids, segments, offsets)
    row_lengths = a.lengths + layout.specials(1) if b is None else a.lengths + b.lengths + layout.specials(2)
    offsets = np.zeros(len(row_lengths) + 1, np.int64)
    np.cumsum(row_lengths, out=offsets[1:])
    # Every position that is not overwritten below is a [SEP].
    ids = np.full(offsets[-1], vocab.sep, np.int32)
    segments = np.zeros(offsets[-1], np.uint8)
    starts = offsets[:-1]
    ids[starts] = vocab.cls
    ids[ranges(starts + 1, a.lengths)] = a.ids[ranges(a.starts, a.lengths)]
    if b is not None:
        starts_b = starts + layout.text_start([a.lengths], 1)
        ids[ranges(starts_b, b.lengths)] = b.ids[ranges(b.starts, b.lengths)]
        segments[ranges(starts_b, b.lengths + 1)] = 1
    return Encoded(ids, segments, offsets)


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers start, start + 1, … of all rows, concatenated: int64 [sum of lengths]."""
    ends = np.cumsum(lengths)
    numbers: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    return numbers


def pad_rows(encoded: Encoded, rows: NDArray[np.int64], pad_id: int) -> dict[str, NDArray[Any]]:
    """The inputs `input_ids`, `segment_ids`, `attention_mask` of the given rows: int64 [B, T], T the longest."""
    lengths = encoded.lengths[rows]
    real_BT = np.arange(lengths.max()) < lengths[:, None]
    return {
        "input_ids": pad_flat(encoded.ids, encoded, rows, pad_id),
        "segment_ids": pad_flat(encoded.segments, encoded, rows, 0),
        "attention_mask": real_BT.astype(np.int64),
    }


def pad_flat(values: NDArray[Any], encoded: Encoded, rows: NDArray[np.int64], pad: int) -> NDArray[np.int64]:
    """The `values` [N] of the given rows, padded with `pad`: int64 [B, T], T the longest length of these rows."""
    lengths = encoded.lengths[rows].astype(np.int64)
    real_BT = np.arange(lengths.max()) < lengths[:, None]
    padded = np.full(real_BT.shape, pad, np.int64)
    padded[real_BT] = values[ranges(encoded.offsets[rows], lengths)]
    return padded
