"""Dynamic masking of whole units, for a whole batch at once (BERT, section 3.1 and appendix A.1; ERNIE 1.0/2.0's
knowledge masking).

The rule, for each row:

1. The budget is 15% of the maskable tokens, rounded, and at least 1.
2. The row's units (words, phrases, entities…) are visited in a uniformly random order. A unit that fits into the rest
   of the budget is taken, and a larger unit is skipped: the rule of BERT's whole word masking. If no unit fits, the
   smallest is taken (the first one in the random order if several are smallest), so that every row has a label.
3. Each taken token becomes [MASK] (80%), becomes a random token (10%) or stays (10%). The draw is per token, not per
   unit, as in BERT's whole word masking and ERNIE's releases.

Legend: B rows, T positions, U units of the row with most units, M taken tokens of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError
from reader.flags import GRANULARITIES, unit_starts
from reader.random import bits, fold, uniforms_at

_ORDER, _ACTION, _TOKEN, _GRANULARITY = 1, 2, 3, 4  # independent streams of a row's key


@dataclass(frozen=True)
class MaskingRule:
    """The settings of masking.

    Args:
        vocab_size: random tokens come from range(vocab_size) without `special_ids`, all equally likely.
        mask_id: id of [MASK].
        special_ids: ids that are never drawn as random tokens ([PAD], [UNK], [CLS], [SEP], [MASK]…).
        rate: share of the maskable tokens to predict.
        mask, random: shares of the tokens to predict that become [MASK] and random tokens; the other tokens stay.
        granularities: how often a row is masked in units of each granularity of `reader.flags.GRANULARITIES`; these
            are relative frequencies, which need not add up to 1.

    Raises:
        DataError: a share is out of range, a granularity unknown, or the vocabulary holds special symbols only.
    """

    vocab_size: int
    mask_id: int
    special_ids: tuple[int, ...]
    rate: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    granularities: Mapping[str, float] = field(default_factory=lambda: {"word": 1.0})

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise DataError(f"the masking rate must be above 0 and at most 1, not {self.rate}")
        if min(self.mask, self.random) < 0 or self.mask + self.random > 1:
            raise DataError(
                f"the shares of [MASK] and of random tokens must be 0 or more and at most 1 together, not {self.mask} "
                f"and {self.random}"
            )
        for name, share in self.granularities.items():
            if name not in GRANULARITIES:
                raise DataError(f"granularity {name!r} is not known; use one of {', '.join(GRANULARITIES)}")
            if share < 0:
                raise DataError(f"the share of granularity {name!r} must be 0 or more, not {share}")
        if not sum(self.granularities.values()) > 0:
            raise DataError("the shares of the masking granularities are all 0; set at least one above 0")
        ordinary = np.setdiff1d(np.arange(self.vocab_size), np.array(self.special_ids, dtype=np.int64))
        if not ordinary.size:
            raise DataError(f"a vocabulary of {self.vocab_size} pieces has none besides the special pieces")
        object.__setattr__(self, "_ordinary", ordinary)

    @property
    def ordinary(self) -> NDArray[np.int64]:
        """The ids that random tokens are drawn from."""
        result: NDArray[np.int64] = self.__dict__["_ordinary"]
        return result


class Masked(NamedTuple):
    """A masked batch."""

    ids: NDArray[Any]  # [B, T], of the type of the ids given
    positions: NDArray[np.int64]  # [M], b * T + t of each taken token, ascending
    labels: NDArray[np.int64]  # [M], the ids that stood there


def mask_batch(
    ids: NDArray[Any],
    starts: NDArray[np.bool_],
    maskable: NDArray[np.bool_],
    keys: NDArray[np.uint64],
    rule: MaskingRule,
) -> Masked:
    """Mask whole units of a batch, by the rule at the top of this module.

    Args:
        ids: [B, T] token ids, special symbols and padding included; the array is not changed.
        starts: [B, T] True where a unit begins, see `batch_unit_starts`. The first token of a run of maskable tokens
            always begins a unit.
        maskable: [B, T] False for special symbols, padding, and other tokens that must stay.
        keys: [B] `reader.random.key(seed, …, epoch, corpus, sample)`: all randomness of a row comes from its key.
        rule: rates and vocabulary.
    """
    positions = select_units(starts, maskable, keys, rule.rate)
    return Masked(replace_tokens(ids, positions, keys, rule), positions, ids.reshape(-1)[positions].astype(np.int64))


def batch_unit_starts(flags: NDArray[np.uint8], keys: NDArray[np.uint64], rule: MaskingRule) -> NDArray[np.bool_]:
    """[B, T] where units begin, each row in a granularity drawn by the shares of `rule.granularities`.

    Args:
        flags: [B, T] bits of `reader.flags`; 0 for special symbols and padding.
        keys: [B] keys of the rows.
    """
    names = [name for name, share in rule.granularities.items() if share > 0]
    shares = np.array([rule.granularities[name] for name in names])
    flat = flags.reshape(-1)
    if len(names) == 1:
        return unit_starts(flat, names[0]).reshape(flags.shape)
    limits = np.cumsum(shares / shares.sum())[:-1]
    drawn = limits.searchsorted(uniforms_at(fold(keys, _GRANULARITY), 0), side="right")
    starts = np.empty(flags.shape, dtype=np.bool_)
    for number, name in enumerate(names):
        rows = flags[drawn == number]
        starts[drawn == number] = unit_starts(rows.reshape(-1), name).reshape(rows.shape)
    return starts


def select_units(
    starts: NDArray[np.bool_], maskable: NDArray[np.bool_], keys: NDArray[np.uint64], rate: float
) -> NDArray[np.int64]:
    """Flat positions b * T + t, ascending, of the tokens of the units taken in each row [B, T] by steps 1 and 2."""
    n_rows, length = maskable.shape
    tokens = np.flatnonzero(maskable)
    if not tokens.size:
        return tokens
    begins = starts & maskable
    begins[:, 1:] |= maskable[:, 1:] & ~maskable[:, :-1]  # after something that stays, a new unit begins
    begins[:, 0] = maskable[:, 0]

    # Units in the flattened order; the tokens of one are neighbours in `tokens`.
    first = np.flatnonzero(begins.reshape(-1)[tokens])
    sizes = np.diff(first, append=len(tokens))
    units_B = begins.sum(axis=1)
    width = int(units_B.max())
    real_BU = np.arange(width) < units_B[:, None]
    row_first_B = np.cumsum(units_B) - units_B
    unit_row = np.repeat(np.arange(n_rows), units_B)
    ordinal = np.arange(len(first)) - row_first_B[unit_row]  # number of the unit in its row
    place = tokens[first] - unit_row * length

    # A random order of each row's units: sort hashes that carry the unit's number and size in their lowest bits.
    # Padding is all ones: it sorts last, and its size never fits.
    size_bits, ordinal_bits = (length + 1).bit_length(), width.bit_length()
    cargo = (ordinal << size_bits) | sizes
    low = np.uint64((1 << (size_bits + ordinal_bits)) - 1)
    order_BU = np.full((n_rows, width), ~np.uint64(0))
    order_BU[real_BU] = (bits(fold(keys, _ORDER)[unit_row], place) & ~low) | cargo.astype(np.uint64)
    order_BU.sort(axis=1)
    cargo_BU = (order_BU & low).astype(np.int64)
    sizes_BU = cargo_BU & ((1 << size_bits) - 1)

    budgets_B = np.maximum(1, np.rint(rate * maskable.sum(axis=1))).astype(np.int64)
    taken_BU = _fill(sizes_BU, budgets_B)
    empty = np.flatnonzero(~taken_BU.any(axis=1) & (units_B > 0))
    taken_BU[empty, sizes_BU[empty].argmin(axis=1)] = True

    row, column = np.nonzero(taken_BU)
    taken = np.zeros(len(first), dtype=np.bool_)
    taken[row_first_B[row] + (cargo_BU[row, column] >> size_bits)] = True
    return tokens[np.repeat(taken, sizes)]


def _fill(sizes_BU: NDArray[np.int64], budgets_B: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which units a greedy walk from left to right takes if it skips every unit that exceeds the rest of the budget.

    In each round every row takes its longest prefix of open units that fits. The unit after that prefix, and every
    other unit larger than the rest of the budget, could never be taken later and is closed. So the loop is over rounds,
    which are few.
    """
    taken = np.zeros(sizes_BU.shape, dtype=np.bool_)
    # The first round needs no more columns than the largest budget: units have a token at least.
    head = sizes_BU[:, : budgets_B.max()]
    fits = np.cumsum(head, axis=1) <= budgets_B[:, None]
    taken[:, : head.shape[1]] = fits
    left = budgets_B - np.where(fits, head, 0).sum(axis=1)
    rows = np.flatnonzero(left)
    left, sizes = left[rows], sizes_BU[rows]
    open_ = ~taken[rows] & (sizes <= left[:, None])
    while True:
        more = open_.any(axis=1)
        rows, left, sizes, open_ = rows[more], left[more], sizes[more], open_[more]
        if not rows.size:
            return taken
        fits = open_ & (np.cumsum(np.where(open_, sizes, 0), axis=1) <= left[:, None])
        taken[rows] |= fits
        left = left - np.where(fits, sizes, 0).sum(axis=1)
        open_ &= ~fits & (sizes <= left[:, None])


def replace_tokens(
    ids: NDArray[Any], positions: NDArray[np.int64], keys: NDArray[np.uint64], rule: MaskingRule
) -> NDArray[Any]:
    """A copy of ids [B, T] in which the tokens at the flat positions [M] are masked, replaced or kept (step 3)."""
    rows, places = np.divmod(positions, ids.shape[1])
    draw = uniforms_at(fold(keys, _ACTION)[rows], places)
    result: NDArray[Any] = ids.copy()
    flat = result.reshape(-1)
    flat[positions[draw < rule.mask]] = rule.mask_id
    swap = (draw >= rule.mask) & (draw < rule.mask + rule.random)
    pick = uniforms_at(fold(keys, _TOKEN)[rows[swap]], places[swap])
    flat[positions[swap]] = rule.ordinary[(pick * len(rule.ordinary)).astype(np.int64)]
    return result
