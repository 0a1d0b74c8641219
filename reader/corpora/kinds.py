"""The kinds of corpora, and the function that opens the samples of any kind.

corpus.json names the kind of its corpus. A new kind needs a class of samples and a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

from reader.batches.plan import Lengths
from reader.corpora.corpus import DOCUMENTS, PAIRS, Corpus, kind_of, read_corpus_info
from reader.corpora.pairs import PairCorpus, PairIndex
from reader.corpora.samples import Sample, SampleIndex
from reader.errors import DataError
from reader.report import SkipReport


class SampleSource(Lengths, Protocol):
    """The samples of one split of a corpus, as objectives use them."""

    skipped: SkipReport
    """The report of what was skipped or cut to make the samples."""

    def sample(self, k: int) -> Sample:
        """Sample ``k``."""

    def document(self, number: int) -> Sample:
        """The whole document whose number in the samples (`Sample.document`) is ``number``."""


Open = Callable[[str, str, int, int], SampleSource]
"""(path, split, maximum tokens of a sample, minimum tokens of a sample) -> the samples of the split."""


@dataclass(frozen=True)
class CorpusKind:
    """One kind of corpus.

    Attributes:
        holds: plural noun for the items of such a corpus, for messages.
        command: the command that prepares such a corpus.
        open: function that opens the samples of a split.
    """

    holds: str
    command: str
    open: Open


KINDS: dict[str, CorpusKind] = {
    DOCUMENTS: CorpusKind(
        "documents",
        "ernie prepare",
        lambda path, split, most, least: SampleIndex(Corpus.open(path, split), most, least),
    ),
    PAIRS: CorpusKind(
        "labelled pairs",
        "ernie prepare-pairs",
        lambda path, split, most, least: PairIndex(PairCorpus.open(path, split), most, least),
    ),
}
"""All kinds, by their name in corpus.json."""


def corpus_kind(path: str | Path) -> str:
    """The name of the kind of a prepared corpus.

    Raises:
        DataError: there is no finished corpus, or its kind is unknown to this version.
    """
    name = kind_of(read_corpus_info(path))
    if name not in KINDS:
        raise DataError(f"{path}: a corpus of kind {name!r} is not known here (known: {', '.join(KINDS)})")
    return name


def open_samples(path: str, split: str, max_tokens: int, min_tokens: int) -> SampleSource:
    """The samples of one split of a corpus of any kind; samples that are already open are shared.

    Args:
        path: folder of the corpus.
        split: "train" or "heldout".
        max_tokens: maximum tokens of a sample, without special symbols.
        min_tokens: samples with fewer tokens are skipped.

    Raises:
        DataError: the corpus is unusable.
    """
    return shared(KINDS[corpus_kind(path)].open, path, split, max_tokens, min_tokens)


_in_use: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


def shared(open_: Open, path: str, split: str, max_tokens: int, min_tokens: int) -> SampleSource:
    """The samples that ``open_`` opens, shared while they are in use, so that a run opens each of its corpora once."""
    key = (open_, path, split, max_tokens, min_tokens)
    found: SampleSource | None = _in_use.get(key)
    if found is None:
        found = open_(path, split, max_tokens, min_tokens)
        _in_use[key] = found
    return found
