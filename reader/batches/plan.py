"""The choice of the samples of batch n: length bins, a budget of tokens per batch, and several corpora with weights.

The choice is a pure function of the seed and the batch number, so a run resumes at batch 1,000,000 as cheaply as at
batch 10, and the batches do not depend on how many ranks share them. The steps, for batch n:

1. epoch and slot = divmod(n, batches per epoch); a permutation of the epoch turns the slot into a batch of some bin;
2. the batch is a run of rows of its bin, in an order that is a permutation of (epoch, bin);
3. a row is the next element of one corpus's endless stream of samples of that bin: element p is, in pass p // size of
   the stream, the sample at place p % size of that pass's own permutation.

The streams make any weight possible: each epoch takes the next round(weight * size) elements of each stream. So before
a sample is used a second time, all other samples of its corpus and bin have been used once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reader.batches.permutation import Permutation
from reader.errors import DataError
from reader.lengths import padded_length
from reader.random import key


class Lengths(Protocol):
    """The lengths of the samples of a corpus, as a plan needs them."""

    max_tokens: int
    """Largest number of tokens that a sample may have."""
    lengths: NDArray[np.int32]
    """Tokens of every sample."""

    @property
    def name(self) -> str:
        """Origin of the samples, for messages."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class BatchRows:
    """The rows of one batch, R of them."""

    epoch: NDArray[np.int64]
    """[R] Number of earlier uses of the sample (the pass of its stream). With corpus and sample it names one use of a
    sample, so randomness derived from (seed, epoch, corpus, sample) is never used twice."""
    corpus: NDArray[np.int64]  # [R] index into the plan's indexes
    sample: NDArray[np.int64]  # [R] number of the sample in that index
    max_tokens: int  # largest length of an arranged row, special symbols included

    def __len__(self) -> int:
        return len(self.sample)


def shard_rows(rows: BatchRows, rank: int, world: int) -> BatchRows:
    """The rows of a batch that one of `world` ranks trains on: every `world`-th row; none if the batch is small."""
    assert 0 <= rank < world
    part = slice(rank, None, world)
    return BatchRows(rows.epoch[part], rows.corpus[part], rows.sample[part], rows.max_tokens)


@dataclass(frozen=True)
class _Bin:
    """Samples of about one length."""

    upper: int  # longest arranged row
    rows: int  # rows of a full batch
    members: list[NDArray[np.int64]] = field(repr=False)  # per corpus: its samples in this bin
    take: list[int]  # per corpus: samples that one epoch uses

    @property
    def total(self) -> int:
        return sum(self.take)

    @property
    def batches(self) -> int:
        return -(-self.total // self.rows)


class BatchPlan:
    """The endless sequence of batches over one or more sample indexes.

    Args:
        indexes: one index per corpus, a reader.corpora.samples.SampleIndex or reader.corpora.pairs.PairIndex.
        weights: per corpus, how many times its samples are used per epoch; 1 for each unless given. An epoch uses
            round(weight * n) of the n samples of each length bin, at least one where the weight is above zero.
        batch_tokens: token budget of a batch: rows times the bin's upper bound, padding and special symbols included,
            is at most this, but a batch has at least one row, however long. Give either this or `batch_rows`.
        batch_rows: the number of rows of a batch.
        bin_width: width of a length bin in tokens. A bin with too few samples for one batch is joined with the next
            longer bin (the last one with the bin before it).
        seed: seed of all permutations.
        overhead: largest number of special symbols that an objective adds to a sample (2 for [CLS] … [SEP], 3 with a
            second [SEP]). Bins and budget include them: the upper bounds are lengths of arranged rows.

    The rows of a bin rarely fill its last batch. No row is dropped: the rows are spread over the bin's batches, so that
    the batches differ by one row at most and none exceeds the budget.

    Raises:
        DataError: there are no samples, or an argument is out of range.
    """

    def __init__(
        self,
        indexes: Sequence[Lengths],
        weights: Sequence[float] | None = None,
        *,
        batch_tokens: int | None = None,
        batch_rows: int | None = None,
        bin_width: int = 64,
        seed: int = 0,
        overhead: int = 2,
    ) -> None:
        weights = [1.0] * len(indexes) if weights is None else list(weights)
        _check(indexes, weights, batch_tokens, batch_rows, bin_width)
        self.indexes = list(indexes)
        self.seed = seed
        self.overhead = overhead
        self._bins = _make_bins(self.indexes, weights, batch_tokens, batch_rows, bin_width, overhead)
        self._first_batch = np.concatenate([[0], np.cumsum([b.batches for b in self._bins])])
        self.batches_per_epoch = int(self._first_batch[-1])
        self.samples_per_epoch = sum(b.total for b in self._bins)

    def batch(self, n: int) -> BatchRows:
        """The rows of batch n (n >= 0); the same work for every n."""
        assert n >= 0
        epoch, slot = divmod(n, self.batches_per_epoch)
        place = int(Permutation(self.batches_per_epoch, self._seed("batches", epoch))(slot))
        number = int(self._first_batch.searchsorted(place, side="right")) - 1
        bin_ = self._bins[number]
        i = place - int(self._first_batch[number])
        span = np.arange(bin_.total * i // bin_.batches, bin_.total * (i + 1) // bin_.batches)
        mixed = Permutation(bin_.total, self._seed("rows", epoch, number))(span)

        ends = np.cumsum(bin_.take)
        corpus = ends.searchsorted(mixed, side="right")
        passes, samples = np.empty_like(mixed), np.empty_like(mixed)
        for c in np.unique(corpus).tolist():
            where = corpus == c
            element = mixed[where] - (int(ends[c]) - bin_.take[c]) + epoch * bin_.take[c]
            passes[where], samples[where] = self._stream(c, number, element)
        return BatchRows(passes, corpus.astype(np.int64), samples, bin_.upper)

    def _stream(self, corpus: int, number: int, elements: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """The pass and the sample of elements of the endless stream of one corpus's samples in one bin."""
        members = self._bins[number].members[corpus]
        passes, places = np.divmod(elements, len(members))
        samples = np.empty_like(places)
        for one in np.unique(passes).tolist():
            where = passes == one
            order = Permutation(len(members), self._seed("stream", corpus, number, one))
            samples[where] = members[order(places[where])]
        return passes, samples

    def lengths(self, rows: BatchRows) -> NDArray[np.int64]:
        """[R] the lengths of the rows when arranged (with `overhead` special symbols)."""
        pairs = zip(rows.corpus.tolist(), rows.sample.tolist(), strict=True)
        return np.array([self.indexes[c].lengths[k] for c, k in pairs], dtype=np.int64) + self.overhead

    def padding_ratio(self, multiple: int = 1, batches: int = 64) -> float:
        """The share of padding in all slots of the first epoch, estimated from `batches` evenly spaced batches.

        Rows are padded to the longest of their batch, rounded up to `multiple`.
        """
        chosen = np.unique(np.linspace(0, self.batches_per_epoch - 1, batches).astype(int))
        real = slots = 0
        for n in chosen.tolist():
            rows = self.batch(n)
            lengths = self.lengths(rows)
            real += int(lengths.sum())
            slots += len(rows) * padded_length(int(lengths.max()), multiple, rows.max_tokens)
        return 1.0 - real / slots

    def _seed(self, *names: int | str) -> int:
        return int(key(self.seed, *names))


def _check(
    indexes: Sequence[Lengths],
    weights: Sequence[float],
    batch_tokens: int | None,
    batch_rows: int | None,
    bin_width: int,
) -> None:
    if len(weights) != len(indexes):
        raise DataError(f"{len(weights)} weights for {len(indexes)} corpora; give one weight for each corpus")
    if not all(np.isfinite(weight) and weight >= 0 for weight in weights):
        raise DataError(f"corpus weights must be numbers of 0 or more, not {list(weights)}")
    sizes = [b for b in (batch_tokens, batch_rows) if b is not None]
    if len(sizes) != 1 or sizes[0] < 1:
        raise DataError(
            f"the batch size must be either batch_tokens or batch_rows, at least 1 (batch_tokens={batch_tokens}, "
            f"batch_rows={batch_rows})"
        )
    if bin_width < 1:
        raise DataError(f"bin_width must be at least 1, not {bin_width}")
    if not any(len(index) and weight for index, weight in zip(indexes, weights, strict=True)):
        names = ", ".join(index.name for index in indexes)
        raise DataError(
            f"no samples in {names or 'the list of corpora'}: is the text too short for the minimum sample length?"
        )


def _make_bins(
    indexes: Sequence[Lengths],
    weights: Sequence[float],
    batch_tokens: int | None,
    batch_rows: int | None,
    width: int,
    overhead: int,
) -> list[_Bin]:
    longest = max(index.max_tokens for index in indexes) + overhead
    uppers = [min(upper, longest) for upper in range(width, longest + width, width)]
    numbers = [(index.lengths.astype(np.int64) + overhead - 1) // width for index in indexes]
    counts = np.array([np.bincount(number, minlength=len(uppers)) for number in numbers])  # [corpora, bins]
    wanted = np.asarray(weights) @ counts

    def rows_of(upper: int) -> int:
        return batch_rows if batch_rows is not None else max(1, (batch_tokens or 0) // upper)

    # Join bins until each group has enough rows for a batch: groups are [first, last] bins.
    groups: list[tuple[int, int]] = []
    first = 0
    used = [b for b in range(len(uppers)) if wanted[b] > 0]
    for b in used:
        if wanted[first : b + 1].sum() >= rows_of(uppers[b]):
            groups.append((first, b))
            first = b + 1
    if not groups or groups[-1][1] != used[-1]:  # too few are left over: they join the last group
        start = groups.pop()[0] if groups else 0
        groups.append((start, used[-1]))

    bins = []
    for first, last in groups:
        members = [np.flatnonzero((number >= first) & (number <= last)) for number in numbers]
        take = [
            max(1, round(weight * len(m))) if weight > 0 and len(m) else 0
            for weight, m in zip(weights, members, strict=True)
        ]
        bins.append(_Bin(uppers[last], rows_of(uppers[last]), members, take))
    return bins
