"""The base of objectives on labelled pairs, which are prepared with ``ernie prepare-pairs``."""

from __future__ import annotations

from typing import TypeVar, cast

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Data, Part, Row, sentences
from ernie_paddle.objectives.shared.pairs import SentencePair
from reader.corpora.corpus import PAIRS
from reader.corpora.pairs import PairIndex

P = TypeVar("P", bound=ObjectiveSettings)


class LabelledPair(SentencePair[P]):
    """Classify pairs of texts that come with labels. Subclasses define the meaning of the labels."""

    reads = PAIRS


def pair_sources(data: Data) -> list[PairIndex]:
    """The sources of a task whose arranging objective is a :class:`LabelledPair`."""
    return [cast(PairIndex, source) for source in data.sources]


def two_texts(row: Row) -> tuple[Part, Part]:
    """Texts a and b of a row."""
    return sentences(row.sample, 0, 1), sentences(row.sample, 1, 2)
