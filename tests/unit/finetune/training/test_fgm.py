"""Adversarial training: moves of word vectors in the static graph against eager Paddle, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import paddle
import pytest
from numpy.typing import NDArray

from ernie_paddle.finetune.networks.layers import PooledModel
from ernie_paddle.finetune.tasks.classification import Classification
from ernie_paddle.finetune.training.fgm import perturbations, with_fgm
from ernie_paddle.models.config import ErnieConfig
from propeller.device import static
from propeller.graph import precision
from propeller.graph.losses import LossTerm
from propeller.graph.optim import OptimizerConfig
from propeller.graph.precision import PrecisionConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner

CONFIG = ErnieConfig(
    vocab_size=25,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=32,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
TASK = Classification(
    text_a="a", text_b=None, label="label", max_length=16, header=True, metric="accuracy", labels=("a", "b", "c")
)
MATRIX_PRODUCTS = ("matmul", "matmul_v2", "linear_v2", "mul", "einsum", "fused_gemm_epilogue")
EPSILON = 0.3
INPUTS = TASK.inputs(True)


@pytest.fixture(autouse=True)
def _static_afterwards() -> Iterator[None]:
    yield
    static.enable()


def batch() -> dict[str, NDArray[Any]]:
    """Five rows, the third padded, the last without label."""
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 25, (5, 7))
    mask = np.ones_like(ids)
    ids[2, 4:] = mask[2, 4:] = 0
    labels = np.array([0, 2, 1, 1, -100])
    return {"input_ids": ids, "segment_ids": np.zeros_like(ids), "attention_mask": mask, "labels": labels}


def direct(arrays: dict[str, NDArray[Any]], rows: dict[str, NDArray[Any]]) -> tuple[list[float], float]:
    """Eager Paddle, each row alone: mean loss, mean loss of the moved rows, and the norm of the gradient of both."""
    paddle.disable_static()
    with paddle.utils.unique_name.guard():
        model = PooledModel(CONFIG, 3)
    for parameter in model.parameters():
        parameter.set_value(arrays[parameter.name])
    word, sums, labelled = model.encoder.embeddings.word, [0.0, 0.0], [0, 1, 2, 3]
    table = word.weight.numpy()
    for row in labelled:
        length = int(rows["attention_mask"][row].sum())
        values = {name: paddle.to_tensor(array[row : row + 1]) for name, array in rows.items()}
        if length < 7:
            values = {name: value[:, :length] if value.ndim == 2 else value for name, value in values.items()}
        vectors = paddle.to_tensor(table[rows["input_ids"][row, :length]][None], stop_gradient=False)

        def loss(words: Any, values: dict[str, Any] = values, vectors: Any = vectors) -> Any:
            handle = word.register_forward_post_hook(lambda *_: words)
            found = paddle.nn.functional.cross_entropy(model(values), values["labels"])
            handle.remove()
            return found

        (gradient,) = paddle.grad([loss(vectors)], [vectors])
        move = EPSILON * gradient.numpy() / np.linalg.norm(gradient.numpy())
        looked_up = word(values["input_ids"])
        plain, moved = loss(looked_up), loss(looked_up + paddle.to_tensor(move))
        ((plain + moved) / len(labelled)).backward()
        sums = [sums[0] + float(plain) / len(labelled), sums[1] + float(moved) / len(labelled)]
    squares = [float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None]
    return sums, float(np.sqrt(sum(squares)))


@pytest.mark.parametrize(
    ("cuts", "dtype"), [((), "float32"), ((2,), "float32"), ((2,), "float16")], ids=["whole", "micro", "amp"]
)
def test_a_step_equals_a_direct_computation_row_by_row(
    cuts: tuple[int, ...], dtype: Literal["float32", "float16"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """float16 is computed in float32 here, as a CPU must, but with its loss scale and casts."""
    monkeypatch.setattr(precision, "ALLOW_FLOAT16_ON_CPU", True)
    learner = Learner(OptimizerConfig(), PrecisionConfig(dtype, extra_black_list=MATRIX_PRODUCTS), seed=2)
    learner.add(ProgramSpec("t", INPUTS, lambda: TASK.layer(CONFIG), with_fgm(TASK.losses, EPSILON)))
    arrays = learner.parameters()
    rows = batch()
    parts = {name: np.split(array, cuts) for name, array in rows.items()}
    micro = [{name: pieces[i] for name, pieces in parts.items()} for i in range(len(cuts) + 1)]
    result = learner.train_step("t", micro, 0.0)
    (plain, moved), norm = direct(arrays, rows)
    assert moved > plain + 1e-3
    assert result.losses["classification"] == pytest.approx(plain, abs=1e-6)
    assert result.losses["adversarial_classification"] == pytest.approx(moved, abs=1e-6)
    assert result.loss == pytest.approx(plain + moved, abs=1e-6)
    assert result.grad_norm == pytest.approx(norm, rel=1e-4)


def test_every_row_moves_by_epsilon_and_one_without_a_gradient_not_at_all() -> None:
    static.enable()
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 3, 2)).astype(np.float32), rng.normal(size=(4, 3, 2)).astype(np.float32)
    w[2] = 0
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        x_BTH, w_BTH = (paddle.static.data(name, [-1, 3, 2], "float32") for name in ("x", "w"))
        x_BTH.stop_gradient = False
        terms = [LossTerm("one", (x_BTH * w_BTH).sum(), "y", 0.25), LossTerm("two", (x_BTH * w_BTH).sum(), "y", 0.5)]
        (move,) = perturbations(terms, [x_BTH], 0.7)
        (found,) = paddle.static.Executor().run(program, feed={"x": x, "w": w}, fetch_list=[move])
    np.testing.assert_allclose(np.sqrt((found**2).sum((1, 2))), [0.7, 0.7, 0, 0.7], rtol=1e-5)
    # A linear loss grows fastest along its own coefficients.
    np.testing.assert_allclose(found[0], 0.7 * w[0] / np.linalg.norm(w[0]), rtol=1e-5)
