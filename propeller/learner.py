"""The Learner: trains, evaluates and infers tasks that share their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from propeller.optim import OptimizerConfig
from propeller.precision import PrecisionConfig
from propeller.task import Task

Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class StepResult:
    """What one training step did; all figures are those of the global batch (all micro-batches of all ranks).

    Attributes:
        step: number of this step, counted from 1.
        loss: the trained loss, sum of weight times mean of each term.
        losses: mean loss per label of each term.
        metrics: "<term>_accuracy" of each term that has hits.
        counts: number of labels of each term.
        grad_norm: global norm of the gradient before clipping (of the unscaled loss).
        finite: False where the norm was not finite, so that the update was skipped.
        loss_scale: the loss scale that this step was computed with (1 without loss scaling).
    """

    step: int
    loss: float
    losses: dict[str, float]
    metrics: dict[str, float]
    counts: dict[str, int]
    grad_norm: float
    finite: bool
    loss_scale: float


@dataclass(frozen=True)
class LoadReport:
    """What became of given arrays and of the parameters: names by kind."""

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    """(name, shape of the parameter, shape of the given array)"""


class Learner:
    """Owns the parameters, the optimizer's state and the Programs of several tasks."""

    def __init__(self, optimizer: OptimizerConfig, precision: PrecisionConfig | None = None, *, seed: int) -> None:
        self.step = 0
        raise NotImplementedError

    def add(self, task: Task) -> None:
        """Make ``task`` known. Programs are built at their first use."""
        raise NotImplementedError

    def train_step(self, task_name: str, micro_batches: Sequence[Batch], lr: float) -> StepResult:
        """One update from this rank's micro-batches."""
        raise NotImplementedError

    def evaluate(self, task_name: str, batches: Iterable[Batch]) -> dict[str, float]:
        """Means over all labels of all batches of all ranks: "loss", "<term>", "<term>_accuracy", "<term>_count"."""
        raise NotImplementedError

    def infer(self, task_name: str, batch: Batch) -> dict[str, np.ndarray]:
        """Outputs of a task whose forward returns them by name, with the current parameters, without dropout."""
        raise NotImplementedError

    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of all parameters (float32) of all tasks, by name."""
        raise NotImplementedError

    def load_parameters(self, arrays: Mapping[str, np.ndarray]) -> LoadReport:
        """Set the parameters that ``arrays`` names (same shape); says what did not fit, and changes nothing there."""
        raise NotImplementedError

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Everything that a bit-identical resume needs: arrays by name, and a JSON-able document."""
        raise NotImplementedError

    def restore(self, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Take up what ``state`` returned."""
        raise NotImplementedError
