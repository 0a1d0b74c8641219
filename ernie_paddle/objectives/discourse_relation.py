"""Discourse relation (ERNIE 2.0, "Semantic-aware Pre-training Tasks"; data as in Sileo et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from ernie_paddle.objectives.base import ObjectiveSettings
from ernie_paddle.objectives.rows import Data, Example, Row
from ernie_paddle.objectives.shared.labelled_pairs import LabelledPair, pair_sources, two_texts
from propeller.errors import UserError


class DiscourseRelation(LabelledPair[ObjectiveSettings]):
    """Which semantic or rhetorical relation holds between two sentences?

    A sample is a labelled pair of a corpus of pairs: ``[CLS] a [SEP] b [SEP]``. The classes are the labels of the
    corpora, which must be the same in all corpora of the task.
    """

    name = "discourse_relation"
    summary = "ERNIE 2.0: which relation (or discourse marker) joins these two sentences? Reads labelled pairs."
    settings_type = ObjectiveSettings
    labels_from_corpora = True

    def _bind(self, data: Data) -> None:
        """Read the classes from the corpora.

        Raises:
            UserError: The corpora have different labels, or only one label.
        """
        names = [source.label_names for source in pair_sources(data)]
        for path, labels in zip(data.paths, names, strict=True):
            if labels != names[0]:
                other = sorted(set(labels) ^ set(names[0]))
                what = f"{other[0]!r} is a label of one of them only" if other else "the order differs"
                raise UserError(
                    f"{self.name}: {path} and {data.paths[0]} have different labels ({what}); prepare both with the "
                    "same --labels"
                )
        if len(names[0]) < 2:
            raise UserError(f"{self.name}: all pairs of {data.paths[0]} have the label {names[0][0]!r}; two are needed")
        self.n_classes = len(names[0])

    def arrange(self, row: Row) -> Sequence[Example]:
        """``[CLS] a [SEP] b [SEP]`` with the label of the pair."""
        label = pair_sources(row.data)[row.corpus].labels.item(row.number)
        return self.pair(row, *two_texts(row), label)
