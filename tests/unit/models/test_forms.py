"""The forms for training on a CPU equal the plain operators, and dropout is dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ernie_paddle.models import cpu_training, forms
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.heads import MaskedLMHead, gather_positions
from ernie_paddle.models.losses import cross_entropy_sum

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def _eager() -> None:
    paddle.disable_static()


def values_and_gradients(function: Any, arrays: list[np.ndarray], cpu: bool) -> list[np.ndarray]:
    """Output of a function, and the gradients of a weighted sum of it."""
    tensors = [paddle.to_tensor(a, stop_gradient=False) for a in arrays]
    with forms.force_device(cpu=cpu):
        output = function(*tensors)
    weights = np.random.default_rng(9).standard_normal(output.shape).astype(np.float32)
    (output * paddle.to_tensor(weights)).sum().backward()
    return [output.numpy(), *(t.grad.numpy() for t in tensors)]


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 5),
    n_in=st.integers(1, 9),
    n_out=st.integers(1, 9),
    name=st.sampled_from(["linear", "linear_transposed", "gelu", "relu"]),
    leading=st.booleans(),
)
def test_products(rows: int, n_in: int, n_out: int, name: str, leading: bool) -> None:
    x = floats(2, rows, n_in) if leading else floats(rows, n_in)
    if name.startswith("linear"):
        function = getattr(forms, name)
        arrays = [x, floats(n_in, n_out) if name == "linear" else floats(n_out, n_in), floats(n_out)]
        call = lambda x, w, b: function(x, w, b, True)  # noqa: E731
    else:
        arrays = [x, floats(n_in, n_out), floats(n_out), floats(n_out, n_in), floats(n_in)]
        call = lambda *a: forms.feed_forward(*a, name, True)  # noqa: E731
    for ours, plain in zip(
        values_and_gradients(call, arrays, True), values_and_gradients(call, arrays, False), strict=True
    ):
        np.testing.assert_allclose(ours, plain, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("per_query", [None, False, True])
def test_attention(per_query: bool | None) -> None:
    """Against the formula in NumPy, for no mask, one mask per row, and one per query."""
    batch, length, heads, size = 2, 5, 4, 3
    q, k, v = (floats(batch, length, heads, size) for _ in range(3))
    bias = None
    if per_query is not None:
        bias = np.where(RNG.random((batch, 1, length if per_query else 1, length)) < 0.6, 0, -30000).astype(np.float32)

    def call(q: Any, k: Any, v: Any) -> Any:
        spread = None if bias is None else forms.spread_bias(paddle.to_tensor(bias), heads, True)
        return forms.attention(q, k, v, spread, 0.0, True)

    scores = np.einsum("btnd,bsnd->bnts", q, k) + (0 if bias is None else bias)
    exps = np.exp(scores - scores.max(-1, keepdims=True))
    expected = np.einsum("bnts,bsnd->btnd", exps / exps.sum(-1, keepdims=True), v)
    tuned, plain = (values_and_gradients(call, [q, k, v], cpu) for cpu in (True, False))
    for ours, other in zip(tuned, plain, strict=True):
        np.testing.assert_allclose(ours, other, atol=2e-5)
    np.testing.assert_allclose(tuned[0], expected, atol=2e-6)


def test_a_whole_model_has_the_same_loss_and_gradients() -> None:
    """One layer of everything, in both forms, without dropout."""
    config = ErnieConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.3,
    )
    with paddle.utils.unique_name.guard():
        encoder = Encoder(config, add_pooler=False)
        head = MaskedLMHead(config, encoder.embeddings.word.weight)
    ids = paddle.to_tensor(RNG.integers(0, 40, (3, 7)))
    mask = paddle.to_tensor((np.arange(7) < np.array([[7], [4], [2]])).astype(np.int64))
    positions, labels = (paddle.to_tensor(np.array(a)) for a in ([0, 8, 14], [3, 39, 5]))
    parameters = {p.name: p for p in [*encoder.parameters(), *head.parameters()]}
    results = []
    for cpu in (True, False):
        with forms.force_device(cpu=cpu):
            logits = head(gather_positions(encoder(ids, attention_mask=mask).hidden_BTH, positions))
        loss = cross_entropy_sum(logits, labels)
        loss.backward()
        results.append({"loss": loss.numpy()} | {n: p.grad.numpy() for n, p in parameters.items()})
        for parameter in parameters.values():
            parameter.clear_gradient()
    tuned, plain = results
    for name in plain:
        np.testing.assert_allclose(tuned[name], plain[name], atol=2e-5, err_msg=name)
        assert name.endswith("k_proj.bias") or np.abs(plain[name]).max() > 1e-3, name


@pytest.mark.parametrize(("shape", "axis"), [([64, 512], -1), ([16, 4, 32, 16], 1), ([64, 511], -1)])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_rate_scale_and_independence(shape: list[int], axis: int, rate: float) -> None:
    """Two-sided binomial tests (the smallest p of all is tiny only if something is wrong), and the exact scale."""
    paddle.seed(11)
    mask = cpu_training.keep_mask(paddle.ones(shape), rate, axis).numpy()
    dropped = mask == 0
    assert stats.binomtest(int(dropped.sum()), dropped.size, rate).pvalue > 1e-4
    kept_rate = 1 - round(rate * 2**15) / 2**15
    np.testing.assert_allclose(mask[~dropped], 1 / kept_rate, rtol=2e-5)
    # The two halves of a word, and neighbours along the last axis, have nothing to do with each other.
    half = shape[axis] // 2
    first, second = np.take(dropped, range(half), axis), np.take(dropped, range(half, 2 * half), axis)
    for a, b in ((first, second), (dropped[..., 1:], dropped[..., :-1])):
        assert stats.binomtest(int((a & b).sum()), a.size, rate**2).pvalue > 1e-4


def test_dropout_follows_the_seed_and_passes_its_mask_to_the_gradient() -> None:
    x = paddle.to_tensor(floats(8, 32), stop_gradient=False)
    paddle.seed(2)
    y = forms.dropout(x, 0.3, True)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy() * x.numpy(), y.numpy(), rtol=1e-6)
    paddle.seed(2)
    np.testing.assert_array_equal(forms.dropout(x, 0.3, True).numpy(), y.numpy())
    assert (forms.dropout(x, 0.3, True).numpy() != y.numpy()).any()
    for rate, training in ((0.3, False), (0.0, True)):
        np.testing.assert_array_equal(forms.dropout(x, rate, training).numpy(), x.numpy())


def test_mixed_precision_gets_plain_operators() -> None:
    with forms.force_device(cpu=False):
        assert not forms.tuned_for_cpu(training=True)
    with forms.force_device(cpu=True):
        assert forms.tuned_for_cpu(training=True)
        assert not forms.tuned_for_cpu(training=False)
        paddle.enable_static()
        try:
            with (
                paddle.static.program_guard(paddle.static.Program()),
                paddle.amp.auto_cast(level="O1", dtype="bfloat16"),
            ):
                assert not forms.tuned_for_cpu(training=True)
        finally:
            paddle.disable_static()
