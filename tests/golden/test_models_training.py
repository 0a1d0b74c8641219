"""Twenty optimizer steps of a masked language model, through the Learner, against PyTorch's curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paddle import nn
from safetensors.numpy import load_file

from ernie_paddle.checkpoints.hf_names import from_hf
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.heads import MaskedLMHead, gather_positions
from ernie_paddle.models.losses import IGNORE, cross_entropy_sum
from propeller.inputs import Input
from propeller.learner import Learner
from propeller.losses import LossTerm
from propeller.optim import OptimizerConfig
from propeller.task import Task

LOSS, NORM, GRADIENT = 5e-5, 1e-4, 2e-6
FINAL = {"run1": 1e-4, "run2": 3e-5, "run3": 3e-5}


class Model(nn.Layer):
    """The encoder without a pooler, and the MLM head."""

    def __init__(self, config: ErnieConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config, add_pooler=False)
        self.mlm = MaskedLMHead(config, self.encoder.embeddings.word.weight)


class Curves:
    """The folder of the training golden."""

    def __init__(self, shared_data: Path) -> None:
        models = shared_data / "golden/models"
        self.folder = models / "train_ernie_mlm"
        values = json.loads((models / "ernie/ernie_task_gelu_eps1e-12/config.json").read_text())
        self.config = ErnieConfig.from_dict(
            {k: v for k, v in values.items() if k not in ("architectures", "model_type")}
        )
        self.training = json.loads((self.folder / "training.json").read_text())
        self._batches = load_file(self.folder / "batches.safetensors")
        self.n_steps = self._batches["input_ids"].shape[0]

    def tensors(self, name: str) -> dict[str, np.ndarray]:
        return from_hf(load_file(self.folder / f"{name}.safetensors"))

    def batch(self, k: int) -> dict[str, np.ndarray]:
        arrays = {name: array[k] for name, array in self._batches.items()}
        real = arrays["masked_flat_positions"] >= 0
        return {
            "input_ids": arrays["input_ids"],
            "segment_ids": arrays["token_type_ids"],
            "task_ids": arrays["task_type_ids"],
            "attention_mask": arrays["attention_mask"],
            "mlm_positions": arrays["masked_flat_positions"][real],
            "mlm_labels": arrays["masked_labels"][real],
        }

    def task(self) -> Task:
        def forward(model: Any, fed: dict[str, Any]) -> list[LossTerm]:
            fed = dict(fed)
            positions, labels = fed.pop("mlm_positions"), fed.pop("mlm_labels")
            logits = model.mlm(gather_positions(model.encoder(**fed).hidden_BTH, positions))
            return [LossTerm("mlm", cross_entropy_sum(logits, labels), "mlm_labels")]

        ids = [Input(n, (None, None), "int64") for n in ("input_ids", "segment_ids", "task_ids", "attention_mask")]
        labels = [Input("mlm_positions", (None,), "int64"), Input("mlm_labels", (None,), "int64", ignore=IGNORE)]
        return Task("mlm", [*ids, *labels], lambda: Model(self.config), forward)


def _split(batch: dict[str, np.ndarray], row: int) -> list[dict[str, np.ndarray]]:
    """Cut a batch into the rows before `row` and the others."""
    length = batch["input_ids"].shape[1]
    first = batch["mlm_positions"] < row * length
    parts = []
    for rows, labels, start in ((slice(0, row), first, 0), (slice(row, None), ~first, row * length)):
        part = {name: array[rows] for name, array in batch.items() if array.ndim == 2}
        part["mlm_positions"] = batch["mlm_positions"][labels] - start
        part["mlm_labels"] = batch["mlm_labels"][labels]
        parts.append(part)
    return parts


def _difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """Largest difference but for the key biases, whose true gradient is 0 (Adam makes steps of its rounding noise)."""
    assert set(ours) == set(theirs)
    return max(float(np.abs(ours[n] - theirs[n]).max()) for n in theirs if not n.endswith("k_proj.bias"))


@pytest.mark.parametrize(("run", "cut"), [("run1", None), ("run2", None), ("run3", None), ("run2", 3)])
def test_twenty_steps_follow_the_curve(shared_data: Path, run: str, cut: int | None) -> None:
    """Also with each batch cut into two uneven micro-batches, which must not matter."""
    curves = Curves(shared_data)
    settings = curves.training["runs"][run]
    optimizer = OptimizerConfig(
        betas=(settings["beta1"], settings["beta2"]),
        epsilon=settings["eps"],
        weight_decay=curves.training["weight_decay"],
        clip_norm=settings["clip_norm"],
    )
    learner = Learner(optimizer, seed=1)
    learner.add(curves.task())
    report = learner.load_parameters(curves.tensors("init"))
    assert not report.missing
    assert not report.unexpected
    assert not report.mismatched
    for k in range(curves.n_steps):
        batch = curves.batch(k)
        result = learner.train_step("mlm", [batch] if cut is None else _split(batch, cut), settings["lr"][k])
        assert abs(result.loss - settings["loss_f64"][k]) < LOSS, k
        assert abs(result.grad_norm - settings["grad_norm_f64"][k]) < NORM, k
        if run == "run1" and k == 0:
            assert _difference(learner.parameters(), curves.tensors("run1_after_step1")) < FINAL[run]
    final = learner.parameters()
    assert _difference(final, curves.tensors(f"{run}_final_f32run")) < FINAL[run]
    if run == "run1":
        assert _difference(final, curves.tensors("run1_final_f64run")) < FINAL[run]


def test_gradients_of_the_first_step(shared_data: Path) -> None:
    """Read off the first moment: after one unclipped update from zero it is (1 - beta1) times the gradient."""
    curves = Curves(shared_data)
    learner = Learner(OptimizerConfig(betas=(0.5, 0.999), clip_norm=None), seed=1)
    learner.add(curves.task())
    learner.load_parameters(curves.tensors("init"))
    learner.train_step("mlm", [curves.batch(0)], 1e-3)
    tensors, _ = learner.state()
    expected = curves.tensors("step1_raw_grads")
    for name, gradient in expected.items():
        (moment,) = (a for n, a in tensors.items() if n.startswith(f"{name}@") and "moment1" in n)
        assert np.abs(2 * moment.reshape(gradient.shape) - gradient).max() < GRADIENT, name
