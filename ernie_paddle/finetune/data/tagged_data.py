"""Tokens with tags as rows of the model's input: sub-word alignment and windows, vectorized over tokens.

Shape suffixes: N tokens of all sentences, P pieces of all sentences, S positions of all rows, W rows (windows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propeller.graph.inputs import IGNORE
from reader.batches.rows import BERT_LAYOUT, Encoded, Runs, join_runs, ranges
from reader.batches.windows import cut_windows, widest_context
from reader.tables.tagged import Tagged
from reader.tables.tags import Marked, write_tags
from reader.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class TaggedDataset:
    """Sentences and the rows made from them.

    Attributes:
        source: Name of the file.
        tokens: Tokens of each sentence.
        sentence_lines: First line of each sentence.
        encoded: The rows.
        row_sentences: Number of the sentence of each row, int64 [W].
        token_offsets: Sentence i is tokens token_offsets[i] to token_offsets[i + 1] - 1; int64.
        places: Position of each token's first piece in the trusted row; int64 [N], an index into `encoded.ids`.
        labels: Class number of each position, -100 for none; int64 [S], None without labels.
        tagged_pieces: Number of pieces of each token, from the first on, that get its tag; int64 [N].
        marked: The entities; None without labels.
        problems: (line, reason) of unusable sentences.
        pad_id: Id of [PAD].
    """

    source: str
    tokens: list[list[str]]
    sentence_lines: list[int]
    encoded: Encoded
    row_sentences: NDArray[np.int64]
    token_offsets: NDArray[np.int64]
    places: NDArray[np.int64]
    tagged_pieces: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    marked: Marked | None
    problems: list[tuple[int, str]]
    pad_id: int

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.encoded)

    @cached_property
    def lines(self) -> list[int]:
        """First line of the sentence of each row."""
        return [self.sentence_lines[number] for number in self.row_sentences]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Length of each row."""
        return self.encoded.lengths

    @property
    def mistakes(self) -> list[tuple[int, str]]:
        """All of `problems`."""
        return self.problems

    @property
    def uncounted(self) -> int:
        """The number of unusable sentences."""
        return len(self.problems)

    @property
    def sentences(self) -> NDArray[np.int64]:
        """Number of the sentence of each token: int64 [N]."""
        return np.repeat(np.arange(len(self.tokens)), np.diff(self.token_offsets))

    def first_tags(self, marked: Marked, scheme: str) -> NDArray[np.int64]:
        """The label of the first piece of each token in training, given these entities: int64 [N].

        In IOBES this can differ from the token's own tag: if all pieces are tagged, a single token of two pieces is B
        and E instead of S.
        """
        firsts = np.cumsum(self.tagged_pieces) - self.tagged_pieces
        found: NDArray[np.int64] = _piece_tags(marked, self.tagged_pieces, scheme)[firsts]
        return found

    @property
    def examples(self) -> int:
        """The number of sentences."""
        return len(self.tokens)

    def describe(self) -> str:
        """The numbers of sentences, of tokens, and of rows if there are more rows than sentences."""
        more = f" in {len(self):,} windows" if len(self) > len(self.tokens) else ""
        return f"{len(self.tokens):,} sentences ({len(self.places):,} tokens){more}"

    def for_training(self) -> TaggedDataset:
        """The data itself; every sentence can be trained on."""
        return self

    def content(self) -> list[NDArray[Any]]:
        """The pieces, places and labels."""
        arrays: list[NDArray[Any]] = [self.encoded.ids, self.places]
        return arrays if self.labels is None else [*arrays, self.labels]


def encode_sentences(
    source: str,
    sentences: Sequence[Tagged],
    problems: list[tuple[int, str]],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    stride: int,
    marked: Marked | None,
    scheme: str,
    align: str,
) -> TaggedDataset:
    """Split tokens into pieces and sentences into windows, and give the pieces their labels.

    A token without any piece becomes [UNK], so that every token has its place. With `align` "all", the tags are those
    of the scheme as if the pieces were tokens.
    """
    token_offsets = np.cumsum([0, *(len(sentence.tokens) for sentence in sentences)])
    ids, counts_N = _pieces(tokenizer, [sentence.tokens for sentence in sentences])
    ends = np.concatenate([[0], np.cumsum(counts_N)])
    first_N, bounds = ends[:-1], ends[token_offsets]
    layout = BERT_LAYOUT  # the layout of single texts
    windows = cut_windows(np.diff(bounds), np.full(len(sentences), max_length - layout.specials(1)), stride)
    starts_W = bounds[windows.texts] + windows.starts
    encoded = join_runs(tokenizer.vocab, layout, Runs(ids, starts_W, windows.lengths))
    # The position of each piece in its trusted row.
    trusted = widest_context(windows)
    where_P = np.zeros(len(ids), np.int64)
    where_P[ranges(starts_W, windows.lengths)[trusted]] = ranges(encoded.offsets[:-1] + 1, windows.lengths)[trusted]
    tagged_N = np.ones_like(counts_N) if align == "first" else counts_N
    labels = None
    if marked is not None:
        labels = np.full(len(encoded.ids), IGNORE, np.int64)
        labels[where_P[ranges(first_N, tagged_N)]] = _piece_tags(marked, tagged_N, scheme)
    return TaggedDataset(
        source=source,
        tokens=[sentence.tokens for sentence in sentences],
        sentence_lines=[sentence.line for sentence in sentences],
        encoded=encoded,
        row_sentences=windows.texts,
        token_offsets=token_offsets,
        places=where_P[first_N],
        tagged_pieces=tagged_N,
        labels=labels,
        marked=marked,
        problems=problems,
        pad_id=tokenizer.vocab.pad,
    )


def _piece_tags(marked: Marked, counts_N: NDArray[np.int64], scheme: str) -> NDArray[np.int64]:
    """The tags of the pieces (`counts_N` of each token), as if the pieces were tokens: int64 [sum of counts]."""
    begins = np.zeros(counts_N.sum(), np.bool_)
    begins[np.cumsum(counts_N) - counts_N] = marked.begins
    return write_tags(Marked(np.repeat(marked.types, counts_N), begins, np.repeat(marked.sentences, counts_N)), scheme)


def _pieces(tokenizer: Tokenizer, sentences: Sequence[list[str]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Pieces of all tokens [P], and their number in each token [N]; each distinct token is tokenized once."""
    known: dict[str, int] = dict.fromkeys(chain.from_iterable(sentences), 0)
    batch = tokenizer.encode_batch(list(known))
    known.update(zip(known, range(len(known)), strict=True))
    counts, starts = np.diff(batch.offsets), batch.offsets[:-1].copy()
    starts[counts == 0], counts[counts == 0] = len(batch.ids), 1
    ids = np.append(batch.ids, np.int32(tokenizer.vocab.unk))
    number_N = np.fromiter(map(known.__getitem__, chain.from_iterable(sentences)), np.int64)
    return ids[ranges(starts[number_N], counts[number_N])], counts[number_N]
