"""One of several choices: softmax over the scores of a row's choices (BERT 4.4, SWAG; also COPA).

Each choice is an input of its own, [CLS] context [SEP] choice [SEP], scored by a learnt vector times C. The inputs of a
row stay together, [B, n, T], so that no batch, micro-batch or rank separates them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ernie_paddle import option_kinds as kinds
from ernie_paddle.checkpoints.heads import CHOICE, FoundHead, Head
from ernie_paddle.finetune.task_type import LABEL
from ernie_paddle.finetune.tasks.classification import LABELS, Classification
from ernie_paddle.finetune.tasks.text_task import TEXT_OPTIONS, TextDataset
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.option_kinds import Option
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.values import Arrays
from reader.batches.rows import Encoded, encode_rows, pad_rows
from reader.tables.cells import text_problem
from reader.tables.table import Row
from reader.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class MultipleChoice(Classification):
    """Selecting the correct one of several choices (SWAG, COPA).

    `labels` are the names of the choices in the label column, by default "0", "1", …. `text_b` is a text that is put
    before each choice: the beginning of the sentence that the choices end (SWAG's `sent2`), or a question.

    Attributes:
        choices: Columns of the choices.
    """

    type: ClassVar[str] = "multiple_choice"
    options: ClassVar[tuple[Option, ...]] = (
        *TEXT_OPTIONS,
        LABELS,
        Option(
            "choices",
            kinds.comma_list,
            None,
            "the columns of the choices, in order",
            elsewhere="the columns of the choices in this table, in order",
        ),
    )
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.choices) < 2:
            raise UserError(f"--choices: {self.type} needs the columns of two or more choices, such as ending0,ending1")
        super().__post_init__()
        if len(self.labels) != len(self.choices):
            raise UserError(f"--labels gives {len(self.labels)} labels for {len(self.choices)} choices")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> MultipleChoice:
        """Build the task; its labels are given by `--labels` or are the numbers of the choices."""
        choices = tuple(options.choices or ())
        labels = tuple(options.labels or map(str, range(len(choices))))
        return cls(labels=labels, choices=choices, **cls.common_options(options))

    @classmethod
    def columns_of_texts(cls, options: Mapping[str, Any]) -> list[str]:
        """The text columns, including those of the choices."""
        return [*super().columns_of_texts(options), *(options.get("choices") or ())]

    def head(self) -> FoundHead:
        """The head of a multiple choice; the same weights work for any number of choices."""
        return FoundHead(Head(CHOICE, n_choices=len(self.choices)))

    @classmethod
    def settings_of(cls, plain: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments, with the choices as a tuple."""
        return {**super().settings_of(plain), "choices": tuple(plain["choices"])}

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The text columns, including the choices."""
        return (*super().text_columns, *self.choices)

    def row_problem(self, row: Row) -> str:
        """The reason if a text is missing; the text before the choices may be empty."""
        before = "" if self.text_b is None else row.cells.get(self.text_b)
        if not isinstance(before, str):
            return f"text_b ({self.text_b!r}) is missing or not a text"
        problem = text_problem(row, self.text_a, None)
        for column in self.choices:
            cell = row.cells.get(column)
            if not problem and (not isinstance(cell, str) or not cell.strip()):
                problem = f"the choice {column!r} is missing, empty or not a text"
        return problem

    def inputs(self, labelled: bool) -> Sequence[Input]:
        """`input_ids`, `segment_ids`, `attention_mask` [B, n, T], and with `labelled` the labels [B]."""
        n_choices = len(self.choices)
        return [
            replace(item, shape=(None, n_choices, None)) if len(item.shape) == 2 else item
            for item in super().inputs(labelled)
        ]

    def batch(self, data: TextDataset, rows: NDArray[np.int64], labelled: bool) -> Arrays:
        """Padded inputs of these rows, and with `labelled` their labels."""
        n_choices = len(self.choices)
        each = (rows[:, None] * n_choices + np.arange(n_choices)).reshape(-1)
        arrays: Arrays = pad_rows(data.encoded, each, data.pad_id)
        arrays = {name: array.reshape(len(rows), n_choices, -1) for name, array in arrays.items()}
        if labelled:
            assert data.labels is not None
            arrays[LABEL] = data.labels[rows]
        return arrays

    def layer(self, config: ErnieConfig) -> Any:
        """Encoder and one score per choice (parameters `classifier.*`: the vector, and a bias without effect)."""
        from ernie_paddle.finetune.networks.layers import ChoiceModel

        return ChoiceModel(config, len(self.choices))

    def _metrics(self, logits_RK: NDArray[np.float64], data: TextDataset) -> dict[str, float]:
        """Accuracy only; the place of a choice has no meaning, so there is no F1."""
        return {"accuracy": super()._metrics(logits_RK, data)["accuracy"]}

    def _encoded(self, texts: Sequence[Sequence[str]], tokenizer: Tokenizer) -> Encoded:
        """[CLS] context [SEP] text before it and choice [SEP], the choices of a row in sequence."""
        n_choices = len(self.choices)
        contexts = [context for context in texts[0] for _ in range(n_choices)]
        endings = [choice for row in zip(*texts[-n_choices:], strict=True) for choice in row]
        if self.text_b is not None:
            before = [text for text in texts[1] for _ in range(n_choices)]
            endings = [f"{text} {choice}" for text, choice in zip(before, endings, strict=True)]
        return encode_rows(tokenizer, contexts, endings, self.max_length, self.layout)
