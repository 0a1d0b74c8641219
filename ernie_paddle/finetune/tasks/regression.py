"""A number for single texts and pairs: squared error of linear(dropout(pooled)) (STS-B in BERT 4.1)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ernie_paddle.checkpoints.heads import SEQUENCE, FoundHead, Head
from ernie_paddle.finetune.metrics import table_metrics as metrics
from ernie_paddle.finetune.task_type import LABEL
from ernie_paddle.finetune.tasks.text_task import TextDataset, TextTask
from ernie_paddle.models.config import ErnieConfig
from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays
from reader.tables.cells import UnusableCellError

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Regression(TextTask):
    """Regression on the unscaled scores of a table."""

    type: ClassVar[str] = "regression"
    metrics: ClassVar[tuple[str, ...]] = metrics.REGRESSION

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Regression:
        """Build the task from the options of `ernie finetune`."""
        return cls(**cls.common_options(options))

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Regression:
        """Build the task from the result of `to_dict`."""
        return cls(**cls.settings_of(settings))

    def parse_label(self, cell: Any) -> float:
        """The score in a cell, which must be a finite number, also as float32."""
        if isinstance(cell, bool) or not isinstance(cell, (str, int, float)):
            raise UnusableCellError(
                "the score is missing" if cell is None else f"a {type(cell).__name__} is not a score"
            )
        try:
            score = float(cell)
        except ValueError:
            raise UnusableCellError(
                f"{cell!r} is not a number" if str(cell).strip() else "the score is missing"
            ) from None
        except OverflowError:  # integers of JSON can have any number of digits
            raise UnusableCellError(f"the score has {len(str(cell))} digits, which is too many for a number") from None
        if not abs(score) <= _LARGEST:
            raise UnusableCellError(
                f"the score is {cell}; it must be a finite number, of magnitude {_LARGEST:.2g} at most"
            )
        return score

    @property
    def label_input(self) -> Input:
        """Scores, float32 [B]; NaN marks a row without one."""
        return Input(LABEL, (None,), "float32", pad=math.nan, ignore=math.nan)

    def layer(self, config: ErnieConfig) -> Any:
        """Encoder and a classifier with one output (parameters `classifier.*`)."""
        from ernie_paddle.finetune.networks.layers import PooledModel

        return PooledModel(config, 1)

    def losses(self, layer: Any, values: Mapping[str, Any]) -> list[LossTerm]:
        """Squared errors summed over the rows."""
        import paddle

        scores_B, labels_B = layer(values).reshape([-1]), values[LABEL]
        # Rows without a score are compared with the prediction itself, which gives no error and no gradient.
        wanted_B = paddle.where(paddle.isnan(labels_B), scores_B.detach(), labels_B)
        return [LossTerm("regression", paddle.square(scores_B - wanted_B).sum(), LABEL)]

    def divergence(self, first: Any, second: Any, values: Mapping[str, Any], weight: float) -> list[LossTerm]:
        """The squared difference of the two numbers, [B, 1] each, over the rows that have a score."""
        import paddle

        labelled_B = 1.0 - paddle.isnan(values[LABEL]).astype("float32")
        total = (paddle.square(first - second).reshape([-1]) * labelled_B).sum()
        return [LossTerm("rdrop", total, LABEL, weight)]

    def outputs(self, layer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """`scores` [B]."""
        return {"scores": layer(values).reshape([-1])}

    def score(self, outputs: Arrays, data: TextDataset) -> dict[str, float]:
        """Pearson and Spearman correlation and the mean squared error."""
        assert data.labels is not None
        scores = outputs["scores"].astype(np.float64)
        loss = float(np.square(scores - data.labels).mean())
        return {**metrics.regression_metrics(data.labels, scores), "loss": loss}

    def baseline(self, data: TextDataset) -> dict[str, float]:
        """The metrics of always answering the mean of these rows."""
        assert data.labels is not None
        return {"pearson": 0.0, "spearman": 0.0, "loss": float(np.var(data.labels.astype(np.float64)))}

    def head(self) -> FoundHead:
        """The head of a sequence classification with one output and a squared error."""
        return FoundHead(Head(SEQUENCE, problem_type="regression"))

    def answer_columns(self) -> list[str]:
        """The column `prediction`."""
        return ["prediction"]

    def answers(self, outputs: Arrays, data: TextDataset) -> dict[Any, dict[str, Any]]:
        """The predicted scores."""
        return {at: {"prediction": float(score)} for at, score in zip(data.places, outputs["scores"], strict=True)}
