"""One or two texts per row as model inputs: [CLS] A [SEP], or [CLS] A [SEP] B [SEP] with segments 0 and 1 (BERT 3.2).

Everything is kept flat (all rows behind each other, with offsets) and cut, joined and padded without a loop over
rows. Shape suffixes: N pieces of all rows, R rows, B rows of a batch, T length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.batching import truncate_pair
from reader.tokenizer import Tokenizer


@dataclass(frozen=True)
class Encoded:
    """Rows ready to be padded: `ids` int32 [N] and `segments` uint8 [N] with [CLS] and [SEP]; `offsets` int64 [R+1]."""

    ids: NDArray[np.int32]
    segments: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Length of each row, [CLS] and [SEP] included: int32 [R]."""
        return np.diff(self.offsets).astype(np.int32)


def encode_rows(
    tokenizer: Tokenizer, texts_a: Sequence[str], texts_b: Sequence[str] | None, max_length: int
) -> Encoded:
    """Tokenise, truncate to `max_length` (longest first for pairs) and add [CLS] and [SEP]."""
    vocab = tokenizer.vocab
    batch_a = tokenizer.encode_batch(texts_a)
    lengths_a = np.diff(batch_a.offsets).astype(np.int64)
    rows = len(lengths_a)
    if texts_b is None:
        lengths_a = np.minimum(lengths_a, max_length - 2)
        row_lengths = lengths_a + 2
    else:
        batch_b = tokenizer.encode_batch(texts_b)
        lengths_a, lengths_b = truncate_pair(lengths_a, np.diff(batch_b.offsets).astype(np.int64), max_length - 3)
        row_lengths = lengths_a + lengths_b + 3
    offsets = np.zeros(rows + 1, np.int64)
    np.cumsum(row_lengths, out=offsets[1:])
    # Whatever is not overwritten below is a [SEP].
    ids = np.full(offsets[-1], vocab.sep, np.int32)
    segments = np.zeros(offsets[-1], np.uint8)
    starts = offsets[:-1]
    ids[starts] = vocab.cls
    ids[ranges(starts + 1, lengths_a)] = batch_a.ids[ranges(batch_a.offsets[:-1], lengths_a)]
    if texts_b is not None:
        starts_b = starts + lengths_a + 2
        ids[ranges(starts_b, lengths_b)] = batch_b.ids[ranges(batch_b.offsets[:-1], lengths_b)]
        segments[ranges(starts_b, lengths_b + 1)] = 1
    return Encoded(ids, segments, offsets)


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers start, start + 1, … of every row behind each other: int64 [sum of lengths]."""
    ends = np.cumsum(lengths)
    numbers: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    return numbers


def pad_rows(encoded: Encoded, rows: NDArray[np.int64], pad_id: int) -> dict[str, NDArray[Any]]:
    """The inputs `input_ids`, `segment_ids`, `attention_mask` of these rows: int64 [B, T], T the longest of them."""
    lengths = encoded.lengths[rows].astype(np.int64)
    real_BT = np.arange(lengths.max()) < lengths[:, None]
    source = ranges(encoded.offsets[rows], lengths)
    input_ids = np.full(real_BT.shape, pad_id, np.int64)
    input_ids[real_BT] = encoded.ids[source]
    segment_ids = np.zeros(real_BT.shape, np.int64)
    segment_ids[real_BT] = encoded.segments[source]
    return {"input_ids": input_ids, "segment_ids": segment_ids, "attention_mask": real_BT.astype(np.int64)}
