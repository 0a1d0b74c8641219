"""A task type in one file: how often something occurs in a text, by Poisson regression."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ernie_paddle import option_kinds as kinds
from ernie_paddle.checkpoints.heads import FoundHead
from ernie_paddle.finetune.metrics.table_metrics import regression_metrics
from ernie_paddle.finetune.task_type import LABEL
from ernie_paddle.finetune.tasks.text_task import TEXT_OPTIONS, TextDataset, TextTask
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.option_kinds import Option
from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays
from reader.tables.cells import UnusableCellError


@dataclass(frozen=True)
class Counting(TextTask):
    """Counts of something in single texts and pairs, in halves."""

    type: ClassVar[str] = "counting"
    options: ClassVar[tuple[Option, ...]] = (
        *(option for option in TEXT_OPTIONS if option.name != "rdrop"),
        Option("largest_count", kinds.positive_int, 9, "larger counts are refused"),
    )
    metrics: ClassVar[tuple[str, ...]] = ("pearson",)

    largest_count: int = 9

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Counting:
        return cls(largest_count=options.largest_count, **cls.common_options(options))

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Counting:
        return cls(**cls.settings_of(settings))

    def parse_label(self, cell: Any) -> float:
        count = float(cell)
        if not 0 <= count <= self.largest_count:
            raise UnusableCellError(f"{cell} is no count from 0 to {self.largest_count}")
        return count

    @property
    def label_input(self) -> Input:
        return Input(LABEL, (None,), "float32", pad=float("nan"), ignore=float("nan"))

    def layer(self, config: ErnieConfig) -> Any:
        from ernie_paddle.finetune.networks.layers import PooledModel

        return PooledModel(config, 1)

    def losses(self, layer: Any, values: Mapping[str, Any]) -> list[LossTerm]:
        import paddle

        logs_B, labels_B = layer(values).reshape([-1]), values[LABEL]
        counted_B = 1.0 - paddle.isnan(labels_B).astype("float32")
        wanted_B = paddle.where(paddle.isnan(labels_B), paddle.zeros_like(labels_B), labels_B)
        return [LossTerm("counting", ((paddle.exp(logs_B) - wanted_B * logs_B) * counted_B).sum(), LABEL)]

    def outputs(self, layer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        import paddle

        return {"counts": paddle.exp(layer(values).reshape([-1]))}

    def score(self, outputs: Arrays, data: TextDataset) -> dict[str, float]:
        assert data.labels is not None
        return {"pearson": regression_metrics(data.labels, outputs["counts"].astype(np.float64))["pearson"]}

    def baseline(self, data: TextDataset) -> dict[str, float]:
        return {"pearson": 0.0}

    def answers(self, outputs: Arrays, data: TextDataset) -> dict[Any, dict[str, Any]]:
        return {place: {"count": float(count)} for place, count in zip(data.places, outputs["counts"], strict=True)}

    def answer_columns(self) -> list[str]:
        return ["count"]

    def head(self) -> FoundHead:
        return FoundHead(only_ours="fine-tuned for counting, and no class of another project has its head")
