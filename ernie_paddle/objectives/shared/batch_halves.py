"""The base of objectives over the two halves of a batch ("On Losses …", section 3.2, items 13, 14; Figure 1).

Shape suffixes: N samples of a micro-batch, B = 2N rows, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ernie_paddle.objectives.base import Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Example, Part, Row, assemble, sentences
from ernie_paddle.objectives.shared.row_pairs import RowPairs
from propeller.values import Value
from reader.corpora.corpus import Corpus
from reader.corpora.kinds import SampleSource, shared

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder

H = TypeVar("H", bound=ObjectiveSettings)


class BatchHalves(Objective[H]):
    """The second half of a micro-batch holds the texts that follow those of the first half: row N + i follows row i.

    A row is as long as that of any other objective ("max sequence length = 128", section 3.6): a sample is a text of
    two rows. It is cut at a sentence boundary drawn among all those that leave two rows of the batch's length, so that
    the length of a row does not reveal the length of the following one. One model encodes both halves at once. A batch
    of R rows has R / 2 samples.

    A sample of one sentence has no boundary. It makes the rows ``[CLS] sample [SEP]`` and ``[CLS] [SEP]``, which are
    not a pair and have no label (other objectives of the task still use the first row). Such samples are counted.
    """

    arranges = True
    pooled = True
    rows_per_sample = 2

    @property
    def label_name(self) -> str:
        """Name of the label Input; on the rows of a pair, :meth:`arrange` sets it to 1."""
        return f"{self.name}_labels"

    def open(self, path: str, split: str, max_tokens: int, min_tokens: int) -> SampleSource:
        """Open texts of two rows of at most ``max_tokens`` tokens each; a text's length is that of both padded rows.

        Raises:
            DataError: The corpus is unusable.
        """
        return shared(_row_pairs, path, split, max_tokens, min_tokens)

    def arrange(self, row: Row) -> Sequence[Example]:
        """``[CLS] text [SEP]`` and ``[CLS] text that follows [SEP]``."""
        offsets = row.sample.sentence_offsets
        if len(offsets) == 2:
            row.note(f"{self.name}: a sample of one sentence has no text that follows, left without a label")
            parts, labels = [sentences(row.sample, 0, 1), _nothing(row)], {}
        else:
            inner, most = offsets[1:-1], row.room - row.data.layout.specials(1)
            cuts = 1 + np.flatnonzero((inner <= most) & (offsets[-1] - inner <= most))
            cut = int(cuts[row.generator("batch_halves").integers(len(cuts))])
            parts = [sentences(row.sample, 0, cut), sentences(row.sample, cut, len(offsets) - 1)]
            labels = {self.label_name: 1.0}
        return [assemble([part], row.data, dict(labels)) for part in parts]

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """No heads: the vectors of the encoder are compared directly."""
        return {}


def _row_pairs(path: str, split: str, max_tokens: int, min_tokens: int) -> RowPairs:
    return RowPairs(Corpus.open(path, split), max_tokens, min_tokens)


def _nothing(row: Row) -> Part:
    """An empty part."""
    return Part(row.sample.tokens[:0], row.sample.flags[:0], row.sample.document)


def halves(rows_BH: Value) -> tuple[Value, Value]:
    """The first and the second half of the rows of a micro-batch, [N, ...] each."""
    first, second = rows_BH.reshape([2, -1, *rows_BH.shape[1:]]).unbind(0)
    return first, second


def unit(vectors: Value) -> Value:
    """Float32 vectors of length 1 along the last axis; a dot product of two is their cosine."""
    vectors = vectors.astype("float32")
    return vectors * (vectors.square().sum(-1, keepdim=True) + 1e-12).rsqrt()
