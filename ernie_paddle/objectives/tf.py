"""Term frequency prediction ("On Losses for Modern Language Models", section 3.2, item 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Batch, Data
from ernie_paddle.objectives.shared.document_counts import DocumentCounts, Occurrences, rescale
from ernie_paddle.objectives.shared.token_regression import TokenRegression


@dataclass(frozen=True)
class TfSettings(ObjectiveSettings):
    """Settings of term frequency prediction.

    Attributes:
        of: "document": frequency in the document, rescaled over the tokens of the document; "rest": frequency in the
            document outside this row, rescaled over the row's tokens of that document.
    """

    of: Literal["document", "rest"] = "document"


class Tf(TokenRegression[TfSettings]):
    """Predict how often a token occurs in its document: a real number from 0 (rarest) to 10 (most frequent).

    The paper says: "a token's frequency in the rest of the document. The frequency is re-scaled between 0 and 10 per
    document." As the scale is the document's, the rest of the document is read as the document without the token
    itself. This subtracts 1 from every count, which the rescaling undoes: the label is the rescaled count. The other
    reading, the document without this row, is ``of: rest``. Targets are real numbers (the release truncates them to
    integers); they are 0 if all counts are equal. All tokens of the text have a target; a masked token has that of the
    original token. A token that another objective inserted from elsewhere has the target of its occurrences in the
    document at this place, 0 if it does not occur there.
    """

    name = "tf"
    summary = "On Losses: how often does this token occur in its document, from 0 to 10? (regression)"
    settings_type = TfSettings

    def _bind(self, data: Data) -> None:
        """Prepare the lookup of documents."""
        self._counts = DocumentCounts(data)

    def measure(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rescaled frequencies."""
        found = self._counts.look_up(batch)
        if self.settings.of == "rest":
            return found.places, _frequency_in_rest(found)
        return found.places, found.of_entries(rescale(found.counts, found.bounds))


def _frequency_in_rest(found: Occurrences) -> NDArray[np.float64]:
    """Counts outside the segment, rescaled over each segment, float64 [N]."""
    order = np.argsort(found.segments, kind="stable")
    starts = np.flatnonzero(np.diff(found.segments[order], prepend=-1))
    rescaled = np.empty(len(order))
    rescaled[order] = rescale(found.outside[order], np.append(starts, len(order)))
    return rescaled
