"""Labelled pairs of texts, on disk and as samples: a kind of corpus beside documents (reader.corpora.corpus).

The folder has the layout of a corpus of documents: tokenizer files, shards `<split>-00000.safetensors`, and
corpus.json, which is written last and holds `"kind": "pairs"` and the names of the labels. corpus.json counts a pair as
a document of two sentences. Arrays of a shard with N tokens and R pairs:

    text_offsets   int64 [2R+1]   text a of pair r is tokens[text_offsets[2r] : text_offsets[2r+1]], text b is
                                  tokens[text_offsets[2r+1] : text_offsets[2r+2]]; no text is empty
    labels         int32 [R]      number in corpus.json's list of labels
    tokens         uint16 [N] if the vocabulary has at most 65,536 pieces, else int32; no [CLS] or [SEP]
    flags          uint8 [N]      see reader.flags
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.corpora.corpus import (
    CORPUS_FILE,
    PAIRS,
    check_split,
    kind_of,
    map_shard,
    read_corpus_info,
    token_dtype,
)
from reader.corpora.samples import SHORT, Sample
from reader.errors import DataError
from reader.lengths import truncate_pair
from reader.random import UInts, bits, mix
from reader.report import SkipReport

CUT = "pair longer than a sample, its longer text cut"


@dataclass(frozen=True)
class PairShard:
    """The arrays of one shard, memory-mapped or in memory; see the table at the top of the module."""

    text_offsets: NDArray[np.int64]
    labels: NDArray[np.int32]
    tokens: NDArray[np.uint16] | NDArray[np.int32]
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        """Number of pairs, R."""
        return len(self.labels)


def pair_layout(vocab_size: int, n_pairs: int, n_tokens: int) -> dict[str, tuple[str, int]]:
    """Names, types and lengths of a shard's arrays, in the order of the file (wide types first)."""
    return {
        "text_offsets": ("int64", 2 * n_pairs + 1),
        "labels": ("int32", n_pairs),
        "tokens": (token_dtype(vocab_size), n_tokens),
        "flags": ("uint8", n_tokens),
    }


class PairCorpus:
    """One split of a prepared corpus of pairs. It pickles as its path, so that each worker maps it anew."""

    def __init__(self, path: Path, split: str, info: Mapping[str, Any], shards: Sequence[PairShard]) -> None:
        self.path = path
        self.split = split
        self.info = info
        self.shards = list(shards)

    @classmethod
    def open(cls, path: str | Path, split: str = "train") -> PairCorpus:
        """Opens a folder that `ernie prepare-pairs` finished.

        Raises:
            DataError: the folder holds no finished corpus of pairs, or the corpus is damaged, has another format
                version, or lacks the split.
        """
        path = Path(path)
        info = read_corpus_info(path)
        if kind_of(info) != PAIRS:
            raise DataError(
                f"{path} holds {kind_of(info)}, where labelled pairs are needed; make them with `ernie prepare-pairs`"
            )
        if not isinstance(info.get("labels"), list) or not info["labels"]:
            raise DataError(f"{path / CORPUS_FILE}: damaged: labels is missing; run `ernie prepare-pairs` again")
        check_split(path, info, split)
        shards = [_open_shard(path / name, info) for name in info["splits"][split]["shards"]]
        corpus = cls(path, split, info, shards)
        if len(corpus) != info["splits"][split]["n_documents"]:
            raise DataError(
                f"{path}: {CORPUS_FILE} says {info['splits'][split]['n_documents']} pairs, shards hold {len(corpus)}"
            )
        return corpus

    def __reduce__(self) -> tuple[Any, ...]:
        return PairCorpus.open, (self.path, self.split)

    def __len__(self) -> int:
        """Number of pairs in this split."""
        return sum(len(shard) for shard in self.shards)

    @property
    def n_tokens(self) -> int:
        """Number of tokens in this split."""
        return sum(len(shard.tokens) for shard in self.shards)

    @property
    def vocab_size(self) -> int:
        """Number of pieces in the vocabulary of the token ids."""
        return int(self.info["vocab_size"])

    @property
    def labels(self) -> list[str]:
        """Names of the labels; a pair's label is an index into this list."""
        return list(self.info["labels"])

    @property
    def skipped(self) -> SkipReport:
        """The report of what preparation skipped."""
        return SkipReport.from_dict(self.info.get("skipped", {}))


def _open_shard(path: Path, info: Mapping[str, Any]) -> PairShard:
    try:
        shard = PairShard(**map_shard(path, info))
    except TypeError as error:
        raise DataError(f"{path}: not a shard of pairs: {error}") from error
    sound = (
        len(shard.text_offsets) == 2 * len(shard) + 1
        and len(shard.flags) == len(shard.tokens) == int(shard.text_offsets[-1])
        and (len(shard) == 0 or 0 <= int(shard.labels.min()) <= int(shard.labels.max()) < len(info["labels"]))
    )
    if not sound:
        raise DataError(f"{path}: the arrays of the shard do not fit each other; prepare the pairs again")
    return shard


class PairIndex:
    """The pairs of a corpus as samples of two sentences, a and b; each pair is a document of its own.

    A pair of more than `max_tokens` loses tokens from the end of its longer text, one after the other, until it fits.
    Pairs of fewer than `min_tokens` are skipped. `skipped` counts both. Samples, and so documents, are numbered without
    the skipped pairs. An index pickles as its own arrays and the path of its corpus.

    Raises:
        DataError: `max_tokens` is below 2, or `min_tokens` is not between 1 and `max_tokens`.
    """

    def __init__(self, corpus: PairCorpus, max_tokens: int, min_tokens: int = 1) -> None:
        if max_tokens < 2 or not 1 <= min_tokens <= max_tokens:
            raise DataError(
                f"pairs of {min_tokens} to {max_tokens} tokens are impossible: the minimum must be at least 1, and the "
                "maximum at least 2 and not below the minimum (check the sequence length minus its special symbols)"
            )
        self.corpus = corpus
        self.max_tokens = max_tokens
        self.min_tokens = min_tokens
        self.skipped = SkipReport()
        sizes = self._of_all(lambda shard: np.diff(shard.text_offsets).reshape(-1, 2), np.zeros((0, 2), np.int64))
        totals = sizes.sum(axis=1)
        self._kept = np.flatnonzero(totals >= min_tokens)
        for reason, found in ((SHORT, totals < min_tokens), (CUT, totals > max_tokens)):
            for number in np.flatnonzero(found).tolist():
                self.skipped.add(reason, f"{corpus.path}: {corpus.split} pair {number}")
        kept_a, kept_b = sizes[self._kept].T
        self.sizes: NDArray[np.int32] = np.stack(truncate_pair(kept_a, kept_b, max_tokens), axis=1).astype(np.int32)
        """Tokens of texts a and b of each sample, int32 [len(self), 2]."""
        self.lengths: NDArray[np.int32] = self.sizes.sum(axis=1, dtype=np.int32)
        """Tokens of each sample, int32 [len(self)]."""
        self.labels: NDArray[np.int32] = self._of_all(lambda shard: shard.labels, np.zeros(0, np.int32))[self._kept]
        """Label of each sample, int32 [len(self)], indices into `label_names`."""
        self._first_pairs = [0, *np.cumsum([len(shard) for shard in corpus.shards]).tolist()]
        self._arrays = _arrays(corpus)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def name(self) -> str:
        """Folder and split, for messages."""
        return f"{self.corpus.path} (split {self.corpus.split!r})"

    @property
    def label_names(self) -> list[str]:
        """Names of the labels."""
        return self.corpus.labels

    def sample(self, k: int) -> Sample:
        """Sample k, in range(len(self))."""
        tokens, flags, (begin, middle, _) = self._pair(k)
        size_a, size_b = self.sizes[k].tolist()
        if begin + size_a == middle:
            place: Any = slice(begin, middle + size_b)
        else:
            place = np.r_[begin : begin + size_a, middle : middle + size_b]
        return _sample(k, k, tokens[place], flags[place], size_a)

    def document(self, number: int) -> Sample:
        """The whole pair of sample `number`, not truncated."""
        tokens, flags, (begin, middle, end) = self._pair(number)
        return _sample(-1, number, tokens[begin:end], flags[begin:end], middle - begin)

    def text_keys(self) -> NDArray[np.uint64]:
        """A 64-bit hash of each whole text, [len(self), 2] for a and b; texts of the same tokens have the same hash."""
        keys = self._of_all(_text_keys, np.zeros((0, 2), np.uint64))
        return keys[self._kept]

    def _pair(self, k: int) -> tuple[NDArray[Any], NDArray[np.uint8], list[int]]:
        """The arrays of a pair's shard, and the positions in them where a begins, b begins and b ends."""
        assert 0 <= k < len(self), f"pair {k} of {len(self)}"
        pair = self._kept.item(k)
        shard = bisect_right(self._first_pairs, pair) - 1
        within = pair - self._first_pairs[shard]
        tokens, flags, offsets = self._arrays[shard]
        return tokens, flags, offsets[2 * within : 2 * within + 3].tolist()

    def _of_all(self, read: Callable[[PairShard], NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
        """The arrays that `read` returns for the shards, concatenated."""
        return np.concatenate([empty, *(read(shard) for shard in self.corpus.shards)])

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_arrays"]  # views of the memory maps: they would be pickled as copies of the corpus
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._arrays = _arrays(self.corpus)


def _sample(index: int, document: int, tokens: NDArray[Any], flags: NDArray[np.uint8], size_a: int) -> Sample:
    offsets = np.array([0, size_a, len(tokens)], dtype=np.int32)
    return Sample(index, document, 0, tokens, flags, offsets, language=-1)


def _text_keys(shard: PairShard) -> UInts:
    """[R, 2]: the sum over a text's tokens of a mix of token and place."""
    if len(shard) == 0:
        return np.zeros((0, 2), np.uint64)
    offsets = np.asarray(shard.text_offsets)
    places = np.arange(len(shard.tokens)) - np.repeat(offsets[:-1], np.diff(offsets))
    mixed = bits(mix(np.asarray(shard.tokens).astype(np.uint64)), places)
    return np.add.reduceat(mixed, offsets[:-1]).reshape(-1, 2)


def _arrays(corpus: PairCorpus) -> list[tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.int64]]]:
    """Plain arrays over the memory maps: slicing a np.memmap costs ten times as much as slicing an array."""
    return [
        (np.asarray(shard.tokens), np.asarray(shard.flags), np.asarray(shard.text_offsets)) for shard in corpus.shards
    ]
