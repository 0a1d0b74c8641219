"""What kinds of corpora there are, and the one place that opens their samples.

The kind of a corpus stands in its corpus.json. A new kind is one class of samples and one line in `KINDS`.
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
    """The samples of one split of a corpus, as objectives draw them."""

    skipped: SkipReport
    """What had to be left out or cut to make samples."""

    def sample(self, k: int) -> Sample:
        """Sample ``k``."""

    def document(self, number: int) -> Sample:
        """The whole of the document that samples call ``number``."""


Open = Callable[[str, str, int, int], SampleSource]
"""(path, split, most tokens of a sample, fewest tokens of a sample) -> its samples."""


@dataclass(frozen=True)
class CorpusKind:
    """One kind of corpus.

    Attributes:
        holds: what it consists of, in the plural, for messages.
        command: the command that makes one.
        open: opens its samples.
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
        DataError: no finished corpus, or one of a kind that this version does not know.
    """
    name = kind_of(read_corpus_info(path))
    if name not in KINDS:
        raise DataError(f"{path}: a corpus of kind {name!r} is not known here (known: {', '.join(KINDS)})")
    return name


def open_samples(path: str, split: str, max_tokens: int, min_tokens: int) -> SampleSource:
    """The samples of one split of a corpus of any kind; those that are in use already are shared.

    Args:
        path: folder of the corpus.
        split: "train" or "heldout".
        max_tokens: of one sample, special symbols not counted.
        min_tokens: samples with fewer are left out.

    Raises:
        DataError: the corpus is unusable.
    """
    return shared(KINDS[corpus_kind(path)].open, path, split, max_tokens, min_tokens)


_in_use: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


def shared(open_: Open, path: str, split: str, max_tokens: int, min_tokens: int) -> SampleSource:
    """What ``open_`` opens, kept for as long as somebody uses it: a run opens each of its corpora once."""
    key = (open_, path, split, max_tokens, min_tokens)
    found: SampleSource | None = _in_use.get(key)
    if found is None:
        found = open_(path, split, max_tokens, min_tokens)
        _in_use[key] = found
    return found
