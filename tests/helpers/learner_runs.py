"""Runs of a Learner with two toy tasks, as one process does them and as a fresh process continues them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from helpers.propeller_toy import batch, cut, task
from propeller.graph.optim import OptimizerConfig
from propeller.graph.precision import PrecisionConfig
from propeller.learner import Learner

SECOND = {"name": "second", "head": "second", "classes": 5, "dropout": 0.3}


def make(seed: int = 3, **precision: Any) -> Learner:
    learner = Learner(OptimizerConfig(), PrecisionConfig(**precision), seed=seed)
    learner.add(task(dropout=0.3))
    learner.add(task(**SECOND))
    return learner


def run(learner: Learner, steps: range) -> list[tuple[float, float]]:
    """Alternating tasks, steps of one to three micro-batches; the second task is first met at step 3."""
    results = []
    for step in steps:
        second = step % 3 == 2
        rows = batch(step, classes=5 if second else 3)
        pieces = cut(rows, *[(), (5,), (2, 7)][step % 3 if step != 5 else 0])
        result = learner.train_step("second" if second else "toy", pieces, 0.02)
        results.append((result.loss, result.grad_norm))
    return results


def resume(directory: Path, steps: range) -> list[tuple[float, float]]:
    """What a fresh process does: read a saved state, and go on."""
    learner = make()
    learner.restore(load_file(directory / "state.safetensors"), json.loads((directory / "state.json").read_text()))
    results = run(learner, steps)
    tensors, meta = learner.state()
    save_file(tensors, directory / "end.safetensors")
    (directory / "end.json").write_text(json.dumps(meta))
    return results
