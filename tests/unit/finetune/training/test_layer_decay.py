"""Layer-wise decay of the learning rate, in float32 and under AMP, against AdamW in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
import pytest

from ernie_paddle.finetune.training.layer_decay import layer_decay
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from propeller.graph import precision
from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.graph.optim import OptimizerConfig, ParameterRules
from propeller.graph.precision import PrecisionConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner

MATRIX_PRODUCTS = ("matmul", "matmul_v2", "linear_v2", "mul", "einsum", "fused_gemm_epilogue")
SHAPES = {
    "ernie.embeddings.word_embeddings.weight": (7, 5),
    "ernie.encoder.layers.0.linear1.weight": (5, 5),
    "ernie.encoder.layers.1.linear1.weight": (5, 5),
    "ernie.encoder.layers.1.linear1.bias": (5,),
    "ernie.pooler.dense.weight": (5, 5),
    "classifier.weight": (5, 1),
}
RATIOS = [0.5**3, 0.5**2, 0.5, 0.5, 1.0, 1.0]
"""Of these parameters, decayed by a half in an encoder of two layers."""


class Chain(paddle.nn.Layer):
    """table[x] · layer 0 · layer 1 + bias · pooler · classifier: linear, so that NumPy's gradient is a few lines."""

    def __init__(self) -> None:
        super().__init__()
        for number, (name, shape) in enumerate(SHAPES.items()):
            attr = paddle.ParamAttr(name=name, initializer=paddle.nn.initializer.Normal(std=0.6))
            self.add_parameter(f"p{number}", self.create_parameter(list(shape), attr=attr))

    def forward(self, x_B: Any) -> Any:
        h_BH = paddle.matmul(paddle.nn.functional.embedding(x_B, self.p0), self.p1)
        h_BH = paddle.matmul(h_BH, self.p2) + self.p3
        return paddle.matmul(paddle.matmul(h_BH, self.p4), self.p5).reshape([-1])


def squared(layer: Any, values: dict[str, Any]) -> list[LossTerm]:
    return [LossTerm("squared", paddle.square(layer(values["x"]) - values["y"]).sum(), "y")]


def gradients(p: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    table, first, second, bias, pooler, head = p.values()
    zero = table[x]
    one = zero @ first
    two = one @ second + bias
    three = two @ pooler
    d = 2 * ((three @ head)[:, 0] - y)[:, None] / len(y)
    d_three = d @ head.T
    d_two = d_three @ pooler.T
    d_one = d_two @ second.T
    d_table = np.zeros_like(table)
    np.add.at(d_table, x, d_one @ first.T)
    found = [d_table, zero.T @ d_one, one.T @ d_two, d_two.sum(0), two.T @ d_three, three.T @ d]
    return dict(zip(p, found, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_each_depth_gets_its_share_of_the_rate(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """float16 is computed in float32 here, as a CPU must, but with its loss scale, casts and master weights."""
    monkeypatch.setattr(precision, "ALLOW_FLOAT16_ON_CPU", True)
    config = OptimizerConfig(epsilon=1e-6, weight_decay=0.3, clip_norm=None)
    amp = PrecisionConfig(dtype=dtype, extra_black_list=MATRIX_PRODUCTS)  # type: ignore[arg-type]
    learner = Learner(config, amp, seed=0, rules=ParameterRules(lr_ratio=layer_decay(0.5, 2)))
    learner.add(ProgramSpec("chain", (Input("x", (None,), "int64"), Input("y", (None,), "float32")), Chain, squared))
    p = {name: learner.parameters()[name].astype(np.float64) for name in SHAPES}
    m, v = ({name: np.zeros(shape) for name, shape in SHAPES.items()} for _ in range(2))
    rng = np.random.default_rng(1)
    (b1, b2), lr = config.betas, 0.03
    for t in range(1, 7):
        x, y = rng.integers(0, 7, 8), rng.normal(size=8).astype(np.float32)
        result = learner.train_step("chain", [{"x": x[:3], "y": y[:3]}, {"x": x[3:], "y": y[3:]}], lr)
        assert result.finite
        assert result.loss_scale == (1 if dtype == "float32" else 2**15)
        for (name, g), ratio in zip(gradients(p, x, y).items(), RATIOS, strict=True):
            if p[name].ndim > 1:
                p[name] *= 1 - lr * ratio * config.weight_decay
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g * g
            p[name] -= lr * ratio * (m[name] / (1 - b1**t)) / (np.sqrt(v[name] / (1 - b2**t)) + config.epsilon)
    for name, array in learner.parameters().items():
        np.testing.assert_allclose(array, p[name], atol=1e-5, err_msg=name)


def test_every_parameter_of_the_encoder_has_its_depth() -> None:
    config = ErnieConfig(vocab_size=9, hidden_size=4, num_hidden_layers=12, num_attention_heads=1, intermediate_size=4)
    ratio, learner = layer_decay(0.9, 12), Learner(OptimizerConfig(), seed=0)
    learner.add(ProgramSpec("encode", (), lambda: Encoder(config), lambda layer, values: {}))
    powers = {name: round(np.log(ratio(name, ())) / np.log(0.9), 6) for name in learner.parameters()}
    assert {powers[name] for name in powers if "embeddings" in name} == {13}
    for i in range(12):
        # 16 arrays of a block; "layers.1." is not "layers.11.".
        assert [power for name, power in powers.items() if f".layers.{i}." in name] == [12 - i] * 16
    assert {power for name, power in powers.items() if "layers" not in name and "embeddings" not in name} == {0}
    assert ratio("classifier.weight", (4, 2)) == 1
