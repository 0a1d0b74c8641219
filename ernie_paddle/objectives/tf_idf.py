"""TF-IDF prediction ("On Losses for Modern Language Models", section 3.2, item 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Batch, Data
from ernie_paddle.objectives.shared.document_counts import DocumentCounts, rescale
from ernie_paddle.objectives.shared.token_regression import TokenRegression
from reader.prepare.statistics import read_statistics


class TfIdf(TokenRegression[ObjectiveSettings]):
    """Predict a token's tf-idf, rescaled between 0 and 10 over the tokens of its document.

    tf is the count in the document. idf = ln(documents / documents with the token), over the training split of the
    row's own corpus: it needs the statistics that `ernie prepare` or `ernie stats` write next to the shards. Targets
    are real numbers, 0 if all values of the document are equal. All tokens of the text have a target, including masked
    and inserted tokens, as in ``tf``.
    """

    name = "tf_idf"
    summary = "On Losses: what is the tf-idf of this token in its document, from 0 to 10? (regression)"
    settings_type = ObjectiveSettings

    def _bind(self, data: Data) -> None:
        """Read the document frequencies of every corpus.

        Raises:
            DataError: The document frequencies of a corpus are missing or stale.
        """
        self._counts = DocumentCounts(data)
        self._idf = np.stack([read_statistics(path).idf() for path in data.paths])

    def measure(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rescaled tf-idf."""
        found = self._counts.look_up(batch)
        corpora = np.repeat(found.corpora, np.diff(found.bounds))
        values = rescale(found.counts * self._idf[corpora, found.tokens], found.bounds)
        return found.places, found.of_entries(values)
