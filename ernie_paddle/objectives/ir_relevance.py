"""Information retrieval relevance (ERNIE 2.0, "Semantic-aware Pre-training Tasks", IR Relevance Task)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Data, Example, Part, Row, sentences
from ernie_paddle.objectives.shared.labelled_pairs import LabelledPair, pair_sources, two_texts
from ernie_paddle.objectives.shared.pairs import room_beside
from propeller.errors import UserError
from reader.corpora.pairs import PairIndex

STRONG, WEAK, NONE = 0, 1, 2
# In a corpus of many queries nearly every draw finds the title of another; in one of few, some of sixteen do.
_DRAWS = 16


@dataclass(frozen=True)
class IrRelevanceSettings(ObjectiveSettings):
    """Settings of IR relevance.

    Attributes:
        strong: Label in the corpora of titles that were clicked (class 0 of the paper).
        weak: Label of titles that were shown, but not clicked (class 1).
        none: Label of titles that are unrelated to the query (class 2).
        random_rate: Fraction of rows whose title is replaced by a title of another query, which makes them class 2.
    """

    strong: str = "strong"
    weak: str = "weak"
    none: str = "none"
    random_rate: float = 1 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.random_rate < 1:
            raise ValueError(f"random_rate must be at least 0 and below 1, found {self.random_rate}")
        if len({self.strong, self.weak, self.none}) < 3:
            raise ValueError("strong, weak and none must be three different labels")


class IrRelevance(LabelledPair[IrRelevanceSettings]):
    """How relevant is the title to the query: strongly (0, clicked), weakly (1, shown), or not at all (2)?

    A sample is a labelled pair of query and title: ``[CLS] query [SEP] title [SEP]``. Search logs hold shown titles;
    the titles of class 2 are drawn at random (in the paper: "completely irrelevant and random in terms of semantic
    information"). With probability ``random_rate`` the title is replaced by a title of another query of the corpus that
    is not a strong or weak title of this query: of 16 draws, the title nearest in length is used, so that length does
    not reveal the class (it is truncated if it does not fit). If no draw finds one, the row is kept as it is and
    counted.
    """

    name = "ir_relevance"
    summary = "ERNIE 2.0: is this title strongly, weakly or not relevant to the query? Reads labelled pairs."
    settings_type = IrRelevanceSettings
    n_classes = 3

    def _bind(self, data: Data) -> None:
        """Map the labels of the corpora to classes, and collect the titles of each query.

        Raises:
            UserError: A label of a corpus is not one of the three.
        """
        self._queries = [self._read(source, path) for source, path in zip(pair_sources(data), data.paths, strict=True)]

    def _read(self, source: PairIndex, path: str) -> _Queries:
        classes = {self.settings.strong: STRONG, self.settings.weak: WEAK, self.settings.none: NONE}
        for name in source.label_names:
            if name not in classes:
                raise UserError(
                    f"{self.name}: {path} has the label {name!r}, but the settings strong, weak and none are "
                    f"{', '.join(map(repr, classes))}; set them, or prepare the pairs with --labels IN_TABLE=NAME,…"
                )
        return _Queries(source, np.array([classes[name] for name in source.label_names]))

    def arrange(self, row: Row) -> Sequence[Example]:
        """``[CLS] query [SEP] title [SEP]``."""
        queries = self._queries[row.corpus]
        query, title = two_texts(row)
        label = queries.classes.item(row.number)
        rng = row.generator(self.name)
        if rng.random() < self.settings.random_rate:
            other = queries.draw_other(row.number, rng, len(title), room_beside(row, query))
            if other is None:
                row.note("ir_relevance: no title of another query found, the row kept as it is")
            else:
                title, label = other, NONE
        return self.pair(row, query, title, label)


class _Queries:
    """The pairs of a corpus by query.

    Attributes:
        classes: Class of each sample, int64 [n].
    """

    def __init__(self, source: PairIndex, classes: NDArray[np.int64]) -> None:
        self._source = source
        self.classes: NDArray[np.int64] = classes[source.labels]
        self._query, self._title = source.text_keys().T
        self._order = self._query.argsort(kind="stable")
        self._sorted = self._query[self._order]

    def draw_other(self, number: int, rng: np.random.Generator, length: int, room: int) -> Part | None:
        """Draw a title of another query that is not a relevant title of this sample's query; None if no draw finds one.

        Args:
            number: Number of the sample.
            rng: Random generator of the draws.
            length: Desired number of tokens.
            room: Maximum number of tokens.
        """
        query = self._query[number]
        first, end = (int(self._sorted.searchsorted(query, side)) for side in ("left", "right"))
        own: NDArray[Any] = self._order[first:end]
        relevant = self._title[own[self.classes[own] != NONE]]
        drawn = rng.integers(len(self._source), size=_DRAWS)
        good = drawn[(self._query[drawn] != query) & ~np.isin(self._title[drawn], relevant)]
        if len(good) == 0:
            return None
        nearest = int(good[np.abs(self._source.sizes[good, 1] - length).argmin()])
        part = sentences(self._source.sample(nearest), 1, 2)
        return Part(part.tokens[:room], part.flags[:room], part.document)
