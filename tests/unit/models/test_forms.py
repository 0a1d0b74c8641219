"""Attention equals its formula, fused or not; a rewritten model has the loss and the gradients of the plain one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import pytest

from ernie_paddle.models import forms
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.heads import MaskedLMHead, gather_positions
from ernie_paddle.models.losses import cross_entropy_sum
from propeller.graph import cpu_graph

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def _eager() -> Iterator[None]:
    paddle.disable_static()
    yield
    paddle.disable_static()


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def values_and_gradients(function: Any, arrays: list[np.ndarray], fused: bool) -> list[np.ndarray]:
    """Output of a function, and the gradients of a weighted sum of it."""
    tensors = [paddle.to_tensor(a, stop_gradient=False) for a in arrays]
    with forms.force_fused_attention(fused):
        output = function(*tensors)
    weights = np.random.default_rng(9).standard_normal(output.shape).astype(np.float32)
    (output * paddle.to_tensor(weights)).sum().backward()
    return [output.numpy(), *(t.grad.numpy() for t in tensors)]


@pytest.mark.parametrize("per_query", [None, False, True])
def test_attention(per_query: bool | None) -> None:
    """Against the formula in NumPy, for no mask, one mask per row, and one per query."""
    batch, length, heads, size = 2, 5, 4, 3
    q, k, v = (floats(batch, length, heads, size) for _ in range(3))
    bias = None
    if per_query is not None:
        bias = np.where(RNG.random((batch, 1, length if per_query else 1, length)) < 0.6, 0, -30000).astype(np.float32)

    def call(q: Any, k: Any, v: Any) -> Any:
        return forms.attention(q, k, v, None if bias is None else paddle.to_tensor(bias), 0.0, True)

    scores = np.einsum("btnd,bsnd->bnts", q, k) * np.float32(size**-0.5) + (0 if bias is None else bias)
    exps = np.exp(scores - scores.max(-1, keepdims=True))
    expected = np.einsum("bnts,bsnd->btnd", exps / exps.sum(-1, keepdims=True), v)
    plain, fused = (values_and_gradients(call, [q, k, v], fused) for fused in (False, True))
    for ours, other in zip(plain, fused, strict=True):
        np.testing.assert_allclose(ours, other, atol=2e-5)
    np.testing.assert_allclose(plain[0], expected, atol=2e-6)


def test_a_rewritten_model_has_the_same_loss_and_gradients() -> None:
    """One layer of everything, in both graphs, without dropout; every rule for a layer that is there is used."""
    config = ErnieConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.3,
    )
    feed = {
        "ids": RNG.integers(0, 40, (3, 7)),
        "mask": (np.arange(7) < np.array([[7], [4], [2]])).astype(np.int64),
        "positions": np.array([0, 8, 14]),
        "labels": np.array([3, 39, 5]),
    }
    paddle.enable_static()
    results: list[dict[str, np.ndarray]] = []
    values: dict[str, np.ndarray] = {}
    for fast in (False, True):
        program, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
            fed = {name: paddle.static.data(name, [-1] * array.ndim, "int64") for name, array in feed.items()}
            encoder = Encoder(config, add_pooler=False)
            head = MaskedLMHead(config, encoder.embeddings.word.weight)
            hidden_BTH = encoder(fed["ids"], attention_mask=fed["mask"]).hidden_BTH
            loss = cross_entropy_sum(head(gather_positions(hidden_BTH, fed["positions"])), fed["labels"])
            pairs = [(p, g) for p, g in paddle.static.append_backward(loss) if g is not None]
            fetched = {p.name: paddle.assign(g) for p, g in pairs} | {"loss": paddle.assign(loss)}
        if fast:
            rules = {"pd_op.add", "pd_op.add_grad", "pd_op.gelu", "pd_op.layer_norm_grad"}
            assert rules <= cpu_graph.speed_up(program).keys()
        scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
        with paddle.static.scope_guard(scope):
            paddle.seed(1)
            executor.run(startup)
            for parameter in program.global_block().all_parameters():
                tensor = scope.find_var(parameter.name).get_tensor()
                values.setdefault(parameter.name, np.array(tensor))
                tensor.set(values[parameter.name], paddle.CPUPlace())
            arrays = executor.run(program, feed=feed, fetch_list=list(fetched.values()))
        results.append(dict(zip(fetched, arrays, strict=True)))
    plain, rewritten = results
    for name in plain:
        np.testing.assert_allclose(rewritten[name], plain[name], atol=2e-5, err_msg=name)
        assert name.endswith("k_proj.bias") or np.abs(plain[name]).max() > 1e-3, name
