"""The data types of the NumPy half of an objective: a run's data, one row being arranged, and a batch of rows.

Shapes: B rows of a micro-batch, T tokens of its longest row, n tokens of one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propeller.values import Arrays
from reader.batches.rows import BERT_LAYOUT, RowLayout
from reader.corpora.kinds import SampleSource
from reader.corpora.samples import Sample
from reader.random import UInts, fold, generator, uniforms_at
from reader.report import SkipReport
from reader.tokenizers.vocab import Vocab


@dataclass(frozen=True)
class Data:
    """The data shared by all rows of a task.

    Attributes:
        vocab: The pieces, and the ids of [PAD], [CLS], [SEP] and [MASK].
        sources: One sample source per corpus. An objective may draw further samples from them.
        paths: Directory of each corpus, which may hold statistics next to the shards.
        max_length: Tokens of the longest row, including [CLS] and [SEP].
        layout: How the model joins the texts of a row.
        target_segment: Segment id of a text that the model generates.
    """

    vocab: Vocab
    sources: Sequence[SampleSource]
    paths: Sequence[str]
    max_length: int
    layout: RowLayout = BERT_LAYOUT
    target_segment: int = 1


@dataclass(frozen=True)
class Example:
    """One row before padding: tokens in their final order, including [CLS] and [SEP].

    Attributes:
        ids: Token ids int32 [n].
        segments: Segment ids int8 [n].
        flags: Per-token flags uint8 [n] (``reader.flags``), 0 on specials.
        special: bool [n], True on [CLS] and [SEP].
        documents: int32 [n], number of the document (in the row's corpus) of each token; -1 on specials.
        labels: Labels of the whole row by Input name; a missing label becomes the Input's ``ignore``.
        inputs: Further per-token values [n], by the names of the arranging objective's ``token_inputs``.
    """

    ids: NDArray[np.int32]
    segments: NDArray[np.int8]
    flags: NDArray[np.uint8]
    special: NDArray[np.bool_]
    documents: NDArray[np.int32]
    labels: dict[str, float] = field(default_factory=dict)
    inputs: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Consecutive tokens of one document of the row's corpus: ids int [n] and flags uint8 [n]."""

    tokens: NDArray[np.integer[Any]]
    flags: NDArray[np.uint8]
    document: int

    def __len__(self) -> int:
        return len(self.tokens)


def sentences(sample: Sample, start: int, stop: int) -> Part:
    """Sentences ``start`` to ``stop`` (exclusive) of a sample."""
    first, last = int(sample.sentence_offsets[start]), int(sample.sentence_offsets[stop])
    return Part(sample.tokens[first:last], sample.flags[first:last], sample.document)


def assemble(parts: Sequence[Part], data: Data, labels: dict[str, float] | None = None) -> Example:
    """``[CLS] part 0 [SEP] part 1 [SEP] ...``; segment id i on part i and its [SEP] (BERT 3; ERNIE 2.0, Figure 3).

    The layout of ``data`` gives the number of [SEP] between two parts.
    """
    vocab, layout = data.vocab, data.layout
    total = layout.specials(len(parts)) + sum(map(len, parts))
    ids = np.empty(total, np.int32)
    segments = np.zeros(total, np.int8)
    flags = np.zeros(total, np.uint8)
    special = np.zeros(total, np.bool_)
    documents = np.full(total, -1, np.int32)
    ids[0], special[0] = vocab.cls, True
    at = 1
    for number, part in enumerate(parts):
        end = at + len(part)
        ids[at:end] = part.tokens
        flags[at:end] = part.flags
        documents[at:end] = part.document
        at = end + (layout.separators if number + 1 < len(parts) else 1)
        segments[end - len(part) : at] = number
        ids[end:at], special[end:at] = vocab.sep, True
    return Example(ids, segments, flags, special, documents, labels or {})


@dataclass(frozen=True)
class Row:
    """One drawn sample, with everything that an objective needs to arrange it.

    Attributes:
        sample: The drawn sample.
        epoch: Number of the epoch over the corpus, from 0.
        corpus: Index into ``data.sources``.
        number: Number of the sample in its source.
        room: Maximum number of tokens of the arranged row, including [CLS] and [SEP].
        data: The data shared by all rows.
        key: Hash of (seed, epoch, corpus, number).
        skipped: Counts of skipped samples and rows; add to it with :meth:`note`.
    """

    sample: Sample
    epoch: int
    corpus: int
    number: int
    room: int
    data: Data
    key: int
    skipped: SkipReport

    def generator(self, name: str) -> np.random.Generator:
        """Random numbers that depend on (seed, epoch, corpus, sample, name) alone."""
        return generator(self.key, name)

    def note(self, reason: str) -> None:
        """Count what was skipped or replaced in this row by ``reason``; a run reports the counts at its end."""
        self.skipped.add(reason, f"{self.data.paths[self.corpus]}: sample {self.number}")


@dataclass
class Batch:
    """The padded rows of one micro-batch. Objectives label it in turn; those that corrupt tokens change ``ids``.

    Attributes:
        ids: Token ids int64 [B, T], as the model reads them.
        original: Token ids before masking; tokens that :meth:`Objective.corrupt` moves or replaces are also moved or
            replaced here.
        segments: Segment ids int64 [B, T].
        flags: uint8 [B, T], 0 on specials and padding.
        documents: int32 [B, T], number of the document (in the row's corpus) of each token; -1 on specials and padding.
        real: bool [B, T], True on tokens and specials, False on padding.
        special: bool [B, T], True on [CLS] and [SEP].
        corrupted: bool [B, T], True where an objective chose to corrupt the token (even if it then kept the token).
        rows: The row from which each row of the batch was made, B entries.
        examples: The rows before padding, B entries.
        data: The data shared by all rows.
        keys: uint64 [B], hash of (seed, epoch, corpus, sample, row of the sample).
        rows_per_sample: Number of rows of one sample: row i and row i + B / rows_per_sample belong together.
        inputs: Further per-token values [B, T], by the names of the arranging objective's ``token_inputs``.
        noted: Values that :meth:`Objective.corrupt` stores for :meth:`Objective.label`, by name.
    """

    ids: NDArray[np.int64]
    original: NDArray[np.int64]
    segments: NDArray[np.int64]
    flags: NDArray[np.uint8]
    documents: NDArray[np.int32]
    real: NDArray[np.bool_]
    special: NDArray[np.bool_]
    corrupted: NDArray[np.bool_]
    rows: Sequence[Row]
    examples: Sequence[Example]
    data: Data
    keys: UInts
    rows_per_sample: int = 1
    inputs: Arrays = field(default_factory=dict)
    noted: Arrays = field(default_factory=dict)

    def uniforms(self, name: str, n: int) -> NDArray[np.float64]:
        """Uniform numbers in [0, 1), [B, n]; number i of a row depends on the row's key, ``name`` and i alone."""
        return uniforms_at(fold(self.keys, name)[:, None], np.arange(n))

    def move(self, source: NDArray[np.int64]) -> None:
        """Move the token at ``source[b, t]`` to [b, t]; ``source`` int64 [B, T] leaves specials in place."""
        for name in ("ids", "original", "flags", "documents", "corrupted"):
            setattr(self, name, np.take_along_axis(getattr(self, name), source, axis=1))

    @cached_property
    def tokens(self) -> NDArray[np.bool_]:
        """bool [B, T]: True on tokens of the text, False on specials and padding."""
        return self.real & ~self.special
