"""The gradients of a masked language model, through the Learner, against PyTorch's.

The curves of twenty steps, and where they end, are tested in test_training_curves.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn
from safetensors.numpy import load_file

from ernie_paddle.checkpoints.hf_names import config_from_hf, from_hf
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.heads import MaskedLMHead, gather_positions
from ernie_paddle.models.losses import cross_entropy_sum
from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner

GRADIENT, AFTER_STEP = 2e-6, 1e-4
RENAMED = {"token_type_ids": "segment_ids", "task_type_ids": "task_ids"}


def _task(config: ErnieConfig) -> ProgramSpec:
    class Model(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Encoder(config, add_pooler=False)
            self.mlm = MaskedLMHead(config, self.encoder.embeddings.word.weight)

    def forward(model: Any, fed: dict[str, Any]) -> list[LossTerm]:
        ids = {name: value for name, value in fed.items() if value.ndim == 2}
        logits_MV = model.mlm(gather_positions(model.encoder(**ids).hidden_BTH, fed["positions"]))
        return [LossTerm("mlm", cross_entropy_sum(logits_MV, fed["labels"]), "labels")]

    names = ("input_ids", "segment_ids", "task_ids", "attention_mask")
    labels = [Input("positions", (None,), "int64"), Input("labels", (None,), "int64", ignore=-100)]
    return ProgramSpec("mlm", [*(Input(name, (None, None), "int64") for name in names), *labels], Model, forward)


def _first_batch(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    first = {RENAMED.get(name, name): array[0] for name, array in arrays.items()}
    positions, labels = first.pop("masked_flat_positions"), first.pop("masked_labels")
    return first | {"positions": positions[positions >= 0], "labels": labels[positions >= 0]}


def _learner(test_data: Path, optimizer: OptimizerConfig) -> tuple[Learner, Path]:
    models = test_data / "golden/models"
    folder = models / "train_ernie_mlm"
    config = config_from_hf(json.loads((models / "ernie/ernie_task_gelu_eps1e-12/config.json").read_text()))
    learner = Learner(optimizer, seed=1)
    learner.add(_task(config))
    init = from_hf(load_file(folder / "init.safetensors"))
    assert sorted(learner.load_parameters(init).matched) == sorted(init)
    return learner, folder


def test_gradients_of_the_first_step(test_data: Path) -> None:
    """Read off the first moment: after one unclipped update from zero it is (1 - beta1) times the gradient."""
    learner, folder = _learner(test_data, OptimizerConfig(betas=(0.5, 0.999), clip_norm=None))
    learner.train_step("mlm", [_first_batch(load_file(folder / "batches.safetensors"))], 1e-3)
    tensors, _ = learner.state()
    for name, gradient in from_hf(load_file(folder / "step1_raw_grads.safetensors")).items():
        assert np.abs(2 * tensors[f"{name}@moment1"] - gradient).max() < GRADIENT, name


def test_parameters_after_the_first_step(test_data: Path) -> None:
    learner, folder = _learner(test_data, OptimizerConfig(weight_decay=0.01, clip_norm=1.0))
    learner.train_step("mlm", [_first_batch(load_file(folder / "batches.safetensors"))], 1.25e-3)
    parameters = learner.parameters()
    for name, expected in from_hf(load_file(folder / "run1_after_step1.safetensors")).items():
        if not name.endswith("k_proj.bias"):  # its true gradient is 0; Adam makes steps of the rounding noise
            assert np.abs(parameters[name] - expected).max() < AFTER_STEP, name
