"""Corrupted text, as the objectives that look for it share it ("On Losses …", section 3.2, and its release).

Tokens that an objective has marked (``batch.corrupted``) are neither moved nor replaced by another. The others form
*runs*: longest stretches of tokens that are free, broken by marked ones and by [CLS], [SEP] and padding.

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
"""Share of the rows that are corrupted, share of their tokens that are, and how many these are at least."""
PERMUTED, REPLACED, INSERTED = 0, 1, 2
_CHANGED, _DONE = "corruption.changed", "corruption.done"

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class TextCorruption(Objective[ObjectiveSettings]):
    """Corrupts half of the rows, each in one way; subclasses say what is labelled.

    A tenth of a row's tokens, at least two, are drawn, and a third of the corrupted rows each has them

    * permuted: neighbours of a run that differ change places, a tenth of the tokens in such pairs;
    * replaced: by a random token of the vocabulary, another than stood there;
    * inserted: random tokens come in between, the rest of the run moves on, and its last tokens drop out. No
      inserted token equals the one that stood in its place.

    A row that cannot be corrupted so (a single token, or all tokens equal) stays, and is counted. Several of these
    objectives in a task share one corruption, and a text that another objective moved counts as corrupted for them:
    their labels are true whatever else the task trains. What masking does afterwards does not count.
    """

    def _bind(self, data: Data) -> None:
        """The pieces that may come in."""
        self._pieces = np.setdiff1d(np.arange(data.vocab.size), data.vocab.special_ids)
        if len(self._pieces) < 2:
            raise UserError(f"{self.name}: needs two ordinary pieces at least, the vocabulary has {len(self._pieces)}")

    def corrupt(self, batch: Batch) -> None:
        """Once for all objectives of this kind."""
        if _DONE not in batch.noted:
            batch.noted[_DONE] = np.ones(1, np.bool_)
            corrupt_rows(batch, self._pieces)


def changed_tokens(batch: Batch) -> Bools:
    """bool [B, T]: where objectives moved, replaced or inserted a token; the tokens that gave way do not count."""
    return batch.noted.get(_CHANGED, np.zeros(batch.ids.shape, np.bool_))


def record(batch: Batch, chosen: Bools, changed: Bools) -> None:
    """Mark what an objective chose, and note what it changed; bool [B, T] each."""
    batch.corrupted |= chosen
    batch.noted[_CHANGED] = changed_tokens(batch) | changed


def free_tokens(batch: Batch) -> Bools:
    """bool [B, T]: tokens that may be moved or replaced."""
    free: Bools = batch.tokens & ~batch.corrupted
    return free


def later(where: NDArray[Any], places: int) -> NDArray[Any]:
    """[B, T]: what stands ``places`` (1 or more) further on in the row, zeros beyond its end."""
    moved = np.zeros_like(where)
    moved[:, :-places] = where[:, places:]
    return moved


def unmoved(batch: Batch) -> Ints:
    """A source for :meth:`Batch.move` that moves nothing, int64 [B, T]."""
    return np.tile(np.arange(batch.ids.shape[1]), (len(batch.ids), 1))


def corrupt_rows(batch: Batch, pieces: NDArray[np.int64]) -> None:
    """Corrupt half of the rows as :class:`TextCorruption` says; ``pieces`` are the ids that may come in, sorted."""
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
    # Two tokens at least are drawn, so a row of one stays.
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
    """Of the allowed places [B, T] of each row, the ``counts_B`` (1 or more) with the least scores, or all."""
    scores = np.where(allowed, scores, 2.0)
    last = np.minimum(counts_B, scores.shape[1]) - 1
    limits = np.take_along_axis(np.sort(scores, axis=1), last[:, None], axis=1)
    drawn: Bools = allowed & (scores <= limits)
    return drawn


def _after_insertion(free: Bools, inserted: Bools) -> Ints:
    """From where the tokens come (int64 [B, T]) if others are inserted at these places of the runs of ``free``."""
    so_far = np.cumsum(inserted, axis=1)
    begins = free.copy()
    begins[:, 1:] &= ~free[:, :-1]
    before_run = np.maximum.accumulate(np.where(begins, so_far - inserted, 0), axis=1)
    source: Ints = np.arange(free.shape[1]) - np.where(free & ~inserted, so_far - before_run, 0)
    return source


def _others(ids_N: Ints, uniforms_N: NDArray[np.float64], pieces: NDArray[np.int64]) -> Ints:
    """For each id a random one of the sorted ``pieces``, all but that id equally likely."""
    at = np.minimum(pieces.searchsorted(ids_N), len(pieces) - 1)
    same = pieces[at] == ids_N
    drawn = (uniforms_N * (len(pieces) - same)).astype(np.int64)
    others: Ints = pieces[drawn + (same & (drawn >= at))]
    return others
