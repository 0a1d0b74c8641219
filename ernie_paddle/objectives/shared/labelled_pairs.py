"""What objectives on labelled pairs share: samples that are pairs, prepared by ``ernie prepare-pairs``."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar, cast

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Data, Part, Row, SampleSource, sentences
from ernie_paddle.objectives.shared.pairs import SentencePair
from propeller.errors import UserError
from reader.corpora.corpus import PAIRS, kind_of, read_corpus_info
from reader.corpora.pairs import PairCorpus, PairIndex

P = TypeVar("P", bound=ObjectiveSettings)


class LabelledPair(SentencePair[P]):
    """Classify pairs of texts that come with labels. Subclasses say what the labels mean."""

    def open(self, path: str, split: str, max_tokens: int, min_tokens: int) -> SampleSource:
        """The pairs of a corpus, each of at most ``max_tokens`` tokens.

        Raises:
            UserError: the corpus holds documents.
            DataError: the corpus is unusable.
        """
        if kind_of(read_corpus_info(path)) != PAIRS:
            raise UserError(
                f"{path} holds documents, but {self.name} reads labelled pairs: make a corpus of them with `ernie "
                "prepare-pairs`, and name it in tasks.NAME.corpora of the recipe"
            )
        return _pair_index(path, split, max_tokens, min_tokens)


def pair_sources(data: Data) -> list[PairIndex]:
    """The sources of a task whose arranging objective is a :class:`LabelledPair`."""
    return [cast(PairIndex, source) for source in data.sources]


def two_texts(row: Row) -> tuple[Part, Part]:
    """Texts a and b of a row."""
    return sentences(row.sample, 0, 1), sentences(row.sample, 1, 2)


@lru_cache(maxsize=8)
def _pair_index(path: str, split: str, max_tokens: int, min_tokens: int) -> PairIndex:
    """Tasks that cut a corpus alike share its index."""
    return PairIndex(PairCorpus.open(path, split), max_tokens, min_tokens)
