"""Statistics of a prepared corpus: a reference for a model's loss, and counts over all documents for objectives.

They are counted once, by `ernie prepare` at its end or by `ernie stats`, and are stored beside the shards, with a
fingerprint of the corpus on which they were counted. Arrays of the file, for a vocabulary of V pieces:

    counts               int64 [V]   occurrences of each piece in the training split
    document_frequency   int64 [V]   documents of the training split in which the piece occurs
    phrase_lengths       int64 [LONGEST_SPAN+1]   phrases of each length in tokens; the last entry also counts longer
    entity_lengths       int64 [LONGEST_SPAN+1]   entities of each length, likewise
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.corpora.corpus import Corpus, Shard, read_corpus_info
from reader.errors import DataError
from reader.files.tensorfile import map_arrays, write_arrays
from reader.flags import IN_ENTITY, IN_PHRASE, unit_starts
from reader.workers.pool import describe_os_error, run_tasks

STATISTICS_FILE = "statistics.safetensors"
LONGEST_SPAN = 16
_FORMAT = "ernie-paddle corpus statistics 1"
_AT_ONCE = 1 << 20  # tokens; keeps the arrays of counting small


def unigram_counts(corpus: Corpus, vocab_size: int) -> NDArray[np.int64]:
    """How often each token id occurs in the corpus, int64 [vocab_size]."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for shard in corpus.shards:
        counts += _token_counts(shard.tokens, vocab_size)
    return counts


def entropy(counts: NDArray[np.int64]) -> float:
    """Entropy in nats of the distribution that ``counts`` are proportional to; 0 for no counts.

    It is the lowest loss per token of a model that ignores the context.
    """
    total = counts.sum()
    if total == 0:
        return 0.0
    shares = counts[counts > 0] / total
    return float(-(shares * np.log(shares)).sum())


@dataclass(frozen=True)
class Statistics:
    """The counts of the training split of a corpus; see the table at the top of the module."""

    n_documents: int
    counts: NDArray[np.int64]
    document_frequency: NDArray[np.int64]
    phrase_lengths: NDArray[np.int64]
    entity_lengths: NDArray[np.int64]

    def idf(self) -> NDArray[np.float64]:
        """Inverse document frequency ln(documents / documents with the piece), float64 [V].

        A piece that occurs in no document of the training split is treated as if it occurred in one.
        """
        frequency: NDArray[np.float64] = np.log(self.n_documents / np.maximum(self.document_frequency, 1))
        return frequency


def count_statistics(path: str | Path, workers: int = 0) -> Statistics:
    """Count the statistics of the training split; several shards are counted by several processes.

    Raises:
        DataError: there is no finished corpus.
    """
    corpus = Corpus.open(path)
    total = {name: np.zeros(size, np.int64) for name, size in _sizes(corpus.vocab_size).items()}
    processes = workers if len(corpus.shards) > 1 else 0
    shards = iter(range(len(corpus.shards)))
    with closing(run_tasks(_start_counting, str(path), shards, min(processes, len(corpus.shards)))) as results:
        for found in results:
            for name, array in found.items():
                total[name] += array
    return Statistics(corpus.n_documents, **total)


def make_statistics(path: str | Path, workers: int = 0) -> Statistics:
    """The statistics beside the shards of a corpus; missing or outdated statistics are counted and written.

    Raises:
        DataError: there is no finished corpus, another file has the name of the statistics, or the folder cannot be
            written.
    """
    file = Path(path) / STATISTICS_FILE
    try:
        return read_statistics(path)
    except DataError:
        info = read_corpus_info(path)
        if file.exists() and not _is_ours(file):
            raise DataError(
                f"{file} is there but holds no statistics of a corpus: move it, then run `ernie stats {path}`"
            ) from None
    statistics = count_statistics(path, workers)
    arrays = {name: getattr(statistics, name) for name in _sizes(0)}
    try:
        write_arrays(file, arrays, {"format": _FORMAT, "corpus": _fingerprint(info)})
    except OSError as error:
        raise DataError(describe_os_error(error)) from error
    return statistics


def read_statistics(path: str | Path) -> Statistics:
    """The statistics that `make_statistics` wrote beside the shards of the corpus at `path`.

    Raises:
        DataError: there is no finished corpus, or its statistics are missing, damaged or outdated.
    """
    info = read_corpus_info(path)
    file = Path(path) / STATISTICS_FILE
    if not file.exists():
        raise DataError(f"{path} has no statistics of its documents yet: make them with `ernie stats {path}`")
    arrays, metadata = map_arrays(file)
    if metadata.get("format") != _FORMAT or metadata.get("corpus") != _fingerprint(info):
        raise DataError(f"{file} is of an earlier state of the corpus: make it again with `ernie stats {path}`")
    sizes = {name: len(array) for name, array in arrays.items()}
    if sizes != _sizes(info["vocab_size"]):
        raise DataError(f"{file}: damaged; remove it and run `ernie stats {path}`")
    return Statistics(info["splits"]["train"]["n_documents"], **arrays)


def _fingerprint(info: dict[str, Any]) -> str:
    """A hash of the entries of corpus.json about the training split and its origin."""
    about = [info["vocab_sha256"], info["splits"].get("train"), info.get("fingerprint")]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode("utf-8")).hexdigest()


def _is_ours(file: Path) -> bool:
    try:
        return map_arrays(file)[1].get("format", "").startswith(_FORMAT[:-1])
    except DataError:
        return False


def _sizes(vocab_size: int) -> dict[str, int]:
    """The length of each array of the file."""
    names = [item.name for item in fields(Statistics) if item.name != "n_documents"]
    return {name: LONGEST_SPAN + 1 if name.endswith("_lengths") else vocab_size for name in names}


def _start_counting(path: str) -> Callable[[int], dict[str, NDArray[np.int64]]]:
    """Sets up a worker process; returns a function from the number of a shard to its counts."""
    corpus = Corpus.open(path)
    return lambda number: _count_shard(corpus.shards[number], corpus.vocab_size)


def _count_shard(shard: Shard, vocab_size: int) -> dict[str, NDArray[np.int64]]:
    sentences = np.asarray(shard.sentence_offsets)
    found = {name: np.zeros(size, np.int64) for name, size in _sizes(vocab_size).items()}
    found["document_frequency"] += _document_frequency(shard.tokens, sentences[shard.document_offsets], vocab_size)
    found["counts"] += _token_counts(shard.tokens, vocab_size)
    for first, last in _stretches(sentences):
        flags = np.asarray(shard.flags[sentences[first] : sentences[last]])
        for kind, inside in (("phrase", IN_PHRASE), ("entity", IN_ENTITY)):
            starts = np.flatnonzero(unit_starts(flags, kind))
            lengths = np.diff(starts, append=len(flags))[(flags[starts] & inside) != 0]
            found[f"{kind}_lengths"] += np.bincount(np.minimum(lengths, LONGEST_SPAN), minlength=LONGEST_SPAN + 1)
    return found


def _token_counts(tokens: NDArray[Any], vocab_size: int) -> NDArray[np.int64]:
    counts = np.zeros(vocab_size, dtype=np.int64)
    for begin in range(0, len(tokens), _AT_ONCE):
        counts += np.bincount(tokens[begin : begin + _AT_ONCE], minlength=vocab_size)
    return counts


def _document_frequency(tokens: NDArray[Any], bounds: NDArray[np.int64], vocab_size: int) -> NDArray[np.int64]:
    """The number of documents in which each id occurs; document d is tokens[bounds[d] : bounds[d+1]]."""
    frequency = np.zeros(vocab_size, dtype=np.int64)
    bits = max(1, (vocab_size - 1).bit_length())
    for first, last in _stretches(bounds):
        part = tokens[bounds[first] : bounds[last]]
        if last == first + 1:  # however long it is
            frequency += _token_counts(part, vocab_size) > 0
            continue
        # Sorted by (document, token), an entry that differs from its left neighbour is the first one of its token.
        keys = np.repeat(np.arange(last - first) << bits, np.diff(bounds[first : last + 1])) | part
        keys.sort()
        fresh = keys[np.diff(keys, prepend=-1) != 0]
        frequency += np.bincount(fresh & ((1 << bits) - 1), minlength=vocab_size)
    return frequency


def _stretches(bounds: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of items first .. last-1 that together have at most `_AT_ONCE` tokens, or that are one longer item."""
    first, count = 0, len(bounds) - 1
    while first < count:
        last = max(first + 1, int(bounds.searchsorted(bounds[first] + _AT_ONCE, side="right")) - 1)
        yield first, last
        first = last
