"""Finding the text that belongs to a text: one encoder for both, trained to find the partner among a batch's texts.

Both texts of a pair become the mean (or [CLS]) vector of the last layer, of length 1. The cosines of a text with all
second texts of its micro-batch, divided by a temperature, are the logits of a softmax whose correct class is the text's
own partner, and vice versa; the loss is the mean of both directions (van den Oord et al. 2018, InfoNCE;
with one encoder for both sides as in Sentence-BERT, Reimers and Gurevych 2019).

Shape suffixes: B pairs of a micro-batch (in predictions: texts), T length, H hidden.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ernie_paddle import option_kinds as kinds
from ernie_paddle.checkpoints.heads import FoundHead
from ernie_paddle.finetune.data.text_pairs import PairSet, TrainingPairs, encode_pairs
from ernie_paddle.finetune.metrics.retrieval_metrics import RETRIEVAL, chance_metrics, nearest, retrieval_metrics
from ernie_paddle.finetune.networks.pooling import POOLINGS, unit
from ernie_paddle.finetune.task_type import TaskType, require_usable
from ernie_paddle.finetune.tasks.text_task import HEADER, TEXT_A, TEXT_B, TextTask
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.inputs import TEXT_INPUTS
from ernie_paddle.option_kinds import Option
from propeller.errors import UserError
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays
from reader.batches.rows import pad_rows
from reader.tables.cells import text_problem
from reader.tables.table import Row, open_table
from reader.tokenizers.base import Tokenizer

_LABEL = "partners"
_TEXT_A, _TEXT_B = "text_numbers_a", "text_numbers_b"
_SIDE_B = "_b"
# Finite, but far below any cosine divided by a sensible temperature.
_NO_CANDIDATE = -1e9


@dataclass(frozen=True)
class Retrieval(TaskType):
    """Retrieval: finding the second text that belongs to a first text, and vice versa.

    In training, the candidates of a text are the texts of the other side in its micro-batch on its rank: more of them
    make the task harder and better, so `ranks` and `micro_batch` belong to the settings. Texts that are equal to the
    correct one, or in a pair with an equal text, are not candidates. In evaluation, all texts of the table are
    candidates.

    Attributes:
        text_a: Column of the first text.
        text_b: Column of the second text.
        max_length: Tokens of the longest text, including [CLS] and [SEP].
        metric: Metric that selects the best checkpoint.
        header: Whether tables have a header.
        pooling: One of POOLINGS.
        temperature: Divisor of the cosines.
        ranks: Number of processes in training.
        micro_batch: Maximum number of pairs in a micro-batch in training.
    """

    type: ClassVar[str] = "retrieval"
    options: ClassVar[tuple[Option, ...]] = (
        TEXT_A,
        TEXT_B,
        HEADER,
        Option("pooling", str, POOLINGS[0], "vector of a text: the mean of its tokens, or that of [CLS]", POOLINGS),
        Option("temperature", kinds.positive_number, 0.05, "divisor of the cosines in the loss"),
    )

    text_a: str
    text_b: str
    max_length: int
    metric: str
    header: bool
    pooling: str
    temperature: float
    ranks: int
    micro_batch: int

    def __post_init__(self) -> None:
        if self.metric not in RETRIEVAL:
            raise UserError(f"metric {self.metric!r} is not a metric of {self.type}: {', '.join(RETRIEVAL)}")
        if self.max_length < 8:
            raise UserError(f"max_length must be at least 8; found {self.max_length}")
        if self.pooling not in POOLINGS:
            raise UserError(f"pooling {self.pooling!r} is not one of {', '.join(POOLINGS)}")
        if self.micro_batch < 2:
            raise UserError(
                f"retrieval compares the texts of a micro-batch, and this one has {self.micro_batch} pair(s); give a "
                "larger --batch_size or --micro_batch"
            )

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Retrieval:
        """Build the task from the options of `ernie finetune` and the number of processes."""
        from propeller.device import distributed

        if options.text_a is None or options.text_b is None:
            raise UserError("retrieval needs the columns of both texts: give --text_a and --text_b")
        ranks = distributed.world_size()
        return cls(
            text_a=options.text_a,
            text_b=options.text_b,
            max_length=options.max_length,
            metric=options.metric or RETRIEVAL[0],
            header=options.header,
            pooling=options.pooling,
            temperature=options.temperature,
            ranks=ranks,
            micro_batch=min(options.micro_batch, math.ceil(options.batch_size / ranks)),
        )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Retrieval:
        """Build the task from the result of `to_dict`."""
        return cls(**{key: value for key, value in settings.items() if key != "type"})

    def read(
        self, path: str | Path, tokenizer: Tokenizer, *, labelled: bool, strict: bool, format: str = "auto"
    ) -> PairSet:
        """Read a whole table; `labelled` has no effect, as a row is its own label.

        Raises:
            DataError: A column is missing; with `strict` also if a row is unusable (the message names file and line) or
                there is none.
        """
        with open_table(path, format, self.header) as table:
            table = table.choose(self.text_a, self.text_b)
            data = self._dataset(table.name, table.rows, tokenizer)
        if strict:
            require_usable(data)
        return data

    def stream(
        self, path: str | Path, tokenizer: Tokenizer, *, chunk_rows: int, format: str = "auto"
    ) -> Iterator[PairSet]:
        """Read the whole table at once, whatever `chunk_rows`, because the nearest text is searched in all of it."""
        data = self.read(path, tokenizer, labelled=False, strict=False, format=format)
        if len(data) or data.problems:
            yield data

    def inputs(self, labelled: bool) -> Sequence[Input]:
        """`input_ids`, `segment_ids`, `attention_mask` [B, T] of texts.

        With `labelled`, those of the first texts of pairs, then those of the second texts (names with the suffix `_b`),
        numbers that are equal for equal texts, and the place of each first text's partner, int64 [B].
        """
        if not labelled:
            return TEXT_INPUTS
        second = [Input(item.name + _SIDE_B, item.shape, item.dtype) for item in TEXT_INPUTS]
        numbers = [Input(name, (None,), "int64") for name in (_TEXT_A, _TEXT_B)]
        return (*TEXT_INPUTS, *second, *numbers, Input(_LABEL, (None,), "int64", pad=IGNORE, ignore=IGNORE))

    def batch(self, data: PairSet | TrainingPairs, rows: NDArray[np.int64], labelled: bool) -> Arrays:
        """Padded texts; with `labelled`, padded pairs."""
        if isinstance(data, PairSet):
            assert not labelled, "pairs are batched by `for_training`"
            return dict(pad_rows(data.encoded, rows, data.pad_id))
        texts_a, texts_b = data.of.pairs[rows].T
        arrays: Arrays = dict(pad_rows(data.of.encoded, texts_a, data.of.pad_id))
        second = pad_rows(data.of.encoded, texts_b, data.of.pad_id)
        arrays |= {name + _SIDE_B: array for name, array in second.items()}
        # A single pair has no other candidates, so it has no label.
        places = np.arange(len(rows)) if len(rows) > 1 else np.full(1, IGNORE)
        return {**arrays, _TEXT_A: texts_a, _TEXT_B: texts_b, _LABEL: places}

    def layer(self, config: ErnieConfig) -> Any:
        """The encoder without its pooler and without a head."""
        from ernie_paddle.finetune.networks.layers import SentenceModel

        return SentenceModel(config, self.pooling)

    def losses(self, layer: Any, values: Mapping[str, Any]) -> list[LossTerm]:
        """Cross-entropy summed over the pairs, mean of both directions, and the pairs found (half for one)."""
        from ernie_paddle.models.losses import correct_sum, cross_entropy_sum
        from propeller.graph import precision

        a_BH = unit(layer(values))
        b_BH = unit(layer({item.name: values[item.name + _SIDE_B] for item in TEXT_INPUTS}))
        with precision.float32():  # the temperature would amplify the error of 16 bits
            logits_BB = a_BH.matmul(b_BH, transpose_y=True) / self.temperature
        places_B = values[_LABEL]
        same_BB = _equal(values[_TEXT_A]).logical_or(_equal(values[_TEXT_B]))
        other_BB = _equal(_counted(places_B)).logical_not()
        logits_BB = logits_BB + same_BB.logical_and(other_BB).astype("float32") * _NO_CANDIDATE
        both = [logits_BB, logits_BB.transpose([1, 0])]
        total = sum(cross_entropy_sum(scores_BB, places_B, IGNORE) for scores_BB in both) / 2
        hits = sum(correct_sum(scores_BB, places_B) for scores_BB in both) / 2
        return [LossTerm(self.type, total, _LABEL, hits=hits)]

    @classmethod
    def texts(cls, path: str | Path, options: Mapping[str, Any]) -> Iterator[str]:
        """Both texts of every row."""
        return TextTask.texts.__func__(TextTask, path, options)  # type: ignore[attr-defined,no-any-return]

    def head(self) -> FoundHead:
        """No head, as a text's vector comes from the encoder."""
        said = f"a text's vector is the last block's output, pooled by {self.pooling!r} and scaled to length 1"
        return FoundHead(notes=(f"no head is written for retrieval: {said}",))

    def outputs(self, layer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """`vectors` [B, H] of length 1, one for each text."""
        return {"vectors": unit(layer(values))}

    def score(self, outputs: Arrays, data: PairSet) -> dict[str, float]:
        """Accuracy@1 and mean reciprocal rank among all texts of the table, both directions and their means."""
        return retrieval_metrics(outputs["vectors"], data.pairs)

    def baseline(self, data: PairSet) -> dict[str, float]:
        """The metrics of a random order."""
        return chance_metrics(data.pairs)

    def tuned(self, outputs: Arrays, data: PairSet) -> Retrieval:
        """The task unchanged, as nothing is fitted to the development data."""
        return self

    def answer_columns(self) -> list[str]:
        """The columns of the nearest second text of the table, its first line, its cosine, and the partner's cosine."""
        return ["prediction", "found_in_line", "similarity", "partner_similarity"]

    def answers(self, outputs: Arrays, data: PairSet) -> dict[int, dict[str, Any]]:
        """Find the nearest second text of the table for each first text.

        `ernie embed` gives the vectors themselves, also of texts without partners.
        """
        vectors, (first, second) = outputs["vectors"], data.pairs.T
        first_lines = dict(zip(second[::-1].tolist(), data.pair_lines[::-1], strict=True))
        found, cosines = nearest(vectors, first, np.unique(second))
        partners = (unit(vectors[first]) * unit(vectors[second])).sum(axis=1)
        columns = self.answer_columns()
        return {
            line: dict(zip(columns, (data.texts[text], first_lines[text], cosine, partner), strict=True))
            for line, text, cosine, partner in zip(
                data.pair_lines, found.tolist(), cosines.tolist(), partners.tolist(), strict=True
            )
        }

    def _dataset(self, source: str, rows: Iterable[Row], tokenizer: Tokenizer) -> PairSet:
        pairs: list[tuple[int, str, str]] = []
        problems: list[tuple[int, str]] = []
        for row in rows:
            problem = row.problem or text_problem(row, self.text_a, self.text_b)
            if problem:
                problems.append((row.line, problem))
            else:
                pairs.append((row.line, row.cells[self.text_a], row.cells[self.text_b]))
        return encode_pairs(source, pairs, problems, tokenizer, self.max_length)


def _equal(numbers_B: Any) -> Any:
    """Whether two of the numbers are equal: bool [B, B] in the graph."""
    return numbers_B.unsqueeze(0) == numbers_B.unsqueeze(1)


def _counted(values_B: Any) -> Any:
    """The numbers 1, 2, 3, …: int64 [B] in the graph."""
    import paddle

    return paddle.cumsum(paddle.ones_like(values_B))
