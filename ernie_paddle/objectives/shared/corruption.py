"""Corrupted text, shared by the objectives that detect corruption ("On Losses …", section 3.2, and its release).

Tokens that an objective has marked (``batch.corrupted``) are neither moved nor replaced by another objective. The other
tokens form *runs*: maximal stretches of free tokens between marked tokens, [CLS], [SEP] and padding.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.objectives.base import Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch, Data
from propeller.errors import UserError
from reader.flags import WORD_START

ROWS, TOKENS, LEAST = 0.5, 0.1, 2
"""Share of corrupted rows, share of corrupted tokens in them, and the minimum number of these tokens."""
PERMUTED, REPLACED, INSERTED = 0, 1, 2
_CHANGED, _DONE = "corruption.changed", "corruption.done"

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class TextCorruption(Objective[ObjectiveSettings]):
    """Corrupts half of the rows, each in one way; subclasses define the labels.

    A tenth of a row's tokens, at least two, are drawn. In a third of the corrupted rows each, these tokens are

    * permuted: neighbours of a run that differ change places, a tenth of the tokens in such pairs;
    * replaced: by a random different token of the vocabulary;
    * inserted: random tokens are inserted, the rest of the run moves on, and its last tokens are dropped. No inserted
      token equals the one that was in its place.

    A row that cannot be corrupted (a single token, or all tokens equal) is kept as it is and counted. Several of these
    objectives in a task share one corruption, and text that another objective moved counts as corrupted for them: their
    labels are true whatever else the task trains. Later masking does not count as corruption.
    """

    def _bind(self, data: Data) -> None:
        """Collect the pieces that may replace others or be inserted."""
        self._pieces = np.setdiff1d(np.arange(data.vocab.size), data.vocab.special_ids)
        if len(self._pieces) < 2:
            raise UserError(f"{self.name}: the vocabulary has {len(self._pieces)} ordinary pieces, two are needed")

    def corrupt(self, batch: Batch) -> None:
        """Corrupt the batch once for all objectives of this kind."""
        if _DONE not in batch.noted:
            batch.noted[_DONE] = np.ones(1, np.bool_)
            corrupt_rows(batch, self._pieces)


def changed_tokens(batch: Batch) -> Bools:
    """bool [B, T]: where objectives moved, replaced or inserted a token, not where one was merely moved on."""
    return batch.noted.get(_CHANGED, np.zeros(batch.ids.shape, np.bool_))


def record(batch: Batch, chosen: Bools, changed: Bools) -> None:
    """Mark the tokens that an objective chose, and store those that it changed; bool [B, T] each."""
    batch.corrupted |= chosen
    batch.noted[_CHANGED] = changed_tokens(batch) | changed


def free_tokens(batch: Batch) -> Bools:
    """bool [B, T]: tokens that may be moved or replaced."""
    free: Bools = batch.tokens & ~batch.corrupted
    return free


def later(where: NDArray[Any], places: int) -> NDArray[Any]:
    """[B, T]: the values ``places`` (1 or more) further on in the row, zeros beyond its end."""
    moved = np.zeros_like(where)
    moved[:, :-places] = where[:, places:]
    return moved


def unmoved(batch: Batch) -> Ints:
    """The source with which :meth:`Batch.move` moves nothing, int64 [B, T]."""
    return np.tile(np.arange(batch.ids.shape[1]), (len(batch.ids), 1))


def corrupt_rows(batch: Batch, pieces: NDArray[np.int64]) -> None:
    """Corrupt half of the rows as described in :class:`TextCorruption`; ``pieces`` are the sorted ids of new tokens."""
    free = free_tokens(batch)
    length = free.shape[1]
    whether, kind, parity = batch.uniforms("corruption", 3).T
    kinds = np.where(whether < ROWS, (kind * 3).astype(np.int64), -1)
    counts = np.maximum(LEAST, np.rint(TOKENS * free.sum(axis=1))).astype(np.int64)
    scores = batch.uniforms("corruption places", length)

    # Pairs of neighbours begin at even or at odd places of a row, so that they do not overlap.
    pairs = free & later(free, 1) & (batch.ids != later(batch.ids, 1))
    pairs &= np.arange(length) % 2 == (parity < 0.5)[:, None]
    swapped = _draw(pairs & (kinds == PERMUTED)[:, None], counts // 2, scores)
    # At least two tokens are drawn, so a row of one token is kept.
    other = free & ((kinds > PERMUTED) & (free.sum(axis=1) >= LEAST))[:, None]
    new = _draw(other, counts, scores)
    inserted = new & (kinds == INSERTED)[:, None]

    source = _after_insertion(free, inserted)
    rows, places = np.nonzero(swapped)
    source[rows, places], source[rows, places + 1] = places + 1, places
    tokens = _others(batch.ids[new], batch.uniforms("corruption tokens", length)[new], pieces)
    batch.move(source)
    batch.ids[new] = batch.original[new] = tokens
    batch.flags[inserted] = WORD_START

    changed = new.copy()
    changed[rows, places] = changed[rows, places + 1] = True
    record(batch, changed, changed)
    for row in np.flatnonzero((kinds >= 0) & ~changed.any(axis=1)).tolist():
        batch.rows[row].note("corruption: a row of too few different tokens, left as it is")


def _draw(allowed: Bools, counts_B: Ints, scores: NDArray[np.float64]) -> Bools:
    """Draw the ``counts_B`` (1 or more) allowed places [B, T] of each row with the lowest scores, or all of them."""
    scores = np.where(allowed, scores, 2.0)
    last = np.minimum(counts_B, scores.shape[1]) - 1
    limits = np.take_along_axis(np.sort(scores, axis=1), last[:, None], axis=1)
    drawn: Bools = allowed & (scores <= limits)
    return drawn


def _after_insertion(free: Bools, inserted: Bools) -> Ints:
    """The source place of each token (int64 [B, T]) after insertions at these places of the runs of ``free``."""
    so_far = np.cumsum(inserted, axis=1)
    begins = free.copy()
    begins[:, 1:] &= ~free[:, :-1]
    before_run = np.maximum.accumulate(np.where(begins, so_far - inserted, 0), axis=1)
    source: Ints = np.arange(free.shape[1]) - np.where(free & ~inserted, so_far - before_run, 0)
    return source


def _others(ids_N: Ints, uniforms_N: NDArray[np.float64], pieces: NDArray[np.int64]) -> Ints:
    """Draw for each id one of the sorted ``pieces`` other than the id, all equally likely."""
    at = np.minimum(pieces.searchsorted(ids_N), len(pieces) - 1)
    same = pieces[at] == ids_N
    drawn = (uniforms_N * (len(pieces) - same)).astype(np.int64)
    others: Ints = pieces[drawn + (same & (drawn >= at))]
    return others
