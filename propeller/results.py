"""The results that the Learner returns for a training step and for loading parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from propeller.graph.programs import Terms


@dataclass(frozen=True)
class StepResult:
    """The result of one training step; all figures are those of the global batch (all micro-batches of all ranks).

    Attributes:
        step: number of this step, counted from 1.
        loss: the trained loss, sum of weight times mean of each term.
        losses: mean loss per label of each term.
        metrics: "<term>_accuracy" of each term that has hits.
        counts: number of labels of each term, or the sum of their weights.
        grad_norm: global norm of the gradient before clipping (of the unscaled loss).
        finite: False where the norm was not finite, so that the update was skipped.
        loss_scale: the loss scale that this step was computed with (1 without loss scaling).
    """

    step: int
    loss: float
    losses: dict[str, float]
    metrics: dict[str, float]
    counts: dict[str, float]
    grad_norm: float
    finite: bool
    loss_scale: float


@dataclass(frozen=True)
class LoadReport:
    """The result of setting parameters from given arrays: lists of sorted names.

    Attributes:
        matched: parameters that were set.
        missing: parameters without an array of their name, which are unchanged.
        unexpected: arrays without a parameter of their name.
        mismatched: (name, shape of the parameter, shape of the array) of parameters that are unchanged because the two
            shapes differ.
    """

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every parameter was set (there may still be unexpected arrays)."""
        return not self.missing and not self.mismatched


@dataclass(frozen=True)
class Means:
    """Means over labels: of the trained loss, of each term, and of the hits."""

    loss: float
    losses: dict[str, float]
    metrics: dict[str, float]
    counts: dict[str, float]


def means(terms: Terms, statistics: Sequence[float] | np.ndarray, counts: Sequence[float] | np.ndarray) -> Means:
    """Divide totals and hits (in the order of ``Built.outputs``) by the number of labels of each label input.

    A term without a single label has no mean, and adds nothing to the trained loss.
    """
    by_input = dict(zip(terms.label_inputs, (float(count) for count in counts), strict=True))
    losses: dict[str, float] = {}
    metrics: dict[str, float] = {}
    loss = 0.0
    hits = iter(statistics[len(terms.names) :])
    for index, name in enumerate(terms.names):
        count = by_input[terms.labels[index]]
        right = float(next(hits)) if terms.has_hits[index] else 0.0
        if count == 0:
            continue
        losses[name] = float(statistics[index]) / count
        loss += terms.weights[index] * losses[name]
        if terms.has_hits[index]:
            metrics[f"{name}_accuracy"] = right / count
    return Means(loss, losses, metrics, {name: by_input[terms.labels[index]] for index, name in enumerate(terms.names)})
