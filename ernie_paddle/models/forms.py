"""The same mathematics, written for the device that will run it.

Paddle's kernels on a GPU are fused and fast; on a CPU some gradients are slow loops (of a broadcast bias, of gelu),
every elementwise operator is a pass over memory, and dropout draws its numbers one by one. So training on a CPU uses
the expressions of `cpu_training`; everything else is plain operators. `tuned_for_cpu()` is the one place that decides;
the decision is made when the graph is built.

Shape suffixes: B batch, T queries, S keys, N heads, D head size, I and O the widths of a linear layer, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paddle
from paddle.nn import functional as F

from ernie_paddle.models import cpu_training
from ernie_paddle.models.cpu_training import Value as Value

_forced_cpu: bool | None = None


def on_cpu() -> bool:
    """Whether graphs built now are for a CPU."""
    if _forced_cpu is not None:
        return _forced_cpu
    return str(paddle.get_device()).startswith("cpu")


@contextmanager
def force_device(cpu: bool) -> Iterator[None]:
    """Build for a CPU (or for a GPU) inside the block, whatever the device; for tests."""
    global _forced_cpu
    previous, _forced_cpu = _forced_cpu, cpu
    try:
        yield
    finally:
        _forced_cpu = previous


def tuned_for_cpu(training: bool) -> bool:
    """Whether to use `cpu_training`: training on a CPU in float32 (in mixed precision the operators are plain)."""
    return training and on_cpu() and not paddle.amp.is_autocast_enabled()


def linear(x: Value, weight_IO: Value, bias_O: Value, training: bool) -> Value:
    """x · weight + bias over the last axis."""
    if tuned_for_cpu(training):
        return cpu_training.linear(x, weight_IO, bias_O)
    return F.linear(x, weight_IO, bias_O)


def linear_transposed(x: Value, weight_OI: Value, bias_O: Value, training: bool) -> Value:
    """x · weightᵀ + bias over the last axis, for a matrix that is stored [out, in] because it is an embedding too."""
    if tuned_for_cpu(training):
        return cpu_training.linear_transposed(x, weight_OI, bias_O)
    return paddle.matmul(x, weight_OI, transpose_y=True) + bias_O


def feed_forward(
    x: Value, weight_HF: Value, bias_F: Value, weight_FH: Value, bias_H: Value, act: str, training: bool
) -> Value:
    """act(x · weight + bias) · weight + bias."""
    if tuned_for_cpu(training) and act == "gelu":
        return cpu_training.feed_forward_gelu(x, weight_HF, bias_F, weight_FH, bias_H)
    inner_F = activation(linear(x, weight_HF, bias_F, training), act)
    return linear(inner_F, weight_FH, bias_H, training)


def activation(x: Value, act: str) -> Value:
    """gelu (exact, with erf) or relu."""
    assert act in ("gelu", "relu"), act
    return F.gelu(x, approximate=False) if act == "gelu" else F.relu(x)


def dropout(x: Value, rate: float, training: bool) -> Value:
    """Zero each element with probability `rate` and scale the others up, so that the expectation stays."""
    if rate and tuned_for_cpu(training):
        return x * cpu_training.keep_mask(x, rate)
    return F.dropout(x, rate, training=training)


def spread_bias(bias: Value, n_heads: int, training: bool) -> Value:
    """The bias [B, 1, 1 or T, S] of the attention scores, in the form in which adding it is fastest."""
    return cpu_training.spread_bias(bias, n_heads) if tuned_for_cpu(training) else bias


def attention(
    q_BTND: Value,
    k_BSND: Value,
    v_BSND: Value,
    bias: Value | None,
    rate: float,
    training: bool,
    probs: list[Value] | None = None,
) -> Value:
    """dropout(softmax(q · kᵀ + bias)) · v for each head; q is divided by √D already.

    Args:
        q_BTND: queries.
        k_BSND: keys.
        v_BSND: values.
        bias: float32, broadcast to [B, N, T, S], without a gradient.
        rate: of dropout.
        training: whether there is dropout.
        probs: the softmax [B, N, T, S] is appended to it.

    Returns:
        [B, T, N, D].
    """
    if not on_cpu() and probs is None:
        if bias is not None:
            bias = bias.astype(q_BTND.dtype)
        # It divides by √D itself; the factor is undone on the smallest operand.
        q_BTND = q_BTND * q_BTND.shape[3] ** 0.5
        rate = rate if training else 0.0
        return F.scaled_dot_product_attention(q_BTND, k_BSND, v_BSND, bias, rate, training=training)
    q_BNTD, k_BNSD, v_BNSD = (x.transpose([0, 2, 1, 3]) for x in (q_BTND, k_BSND, v_BSND))
    scores_BNTS = paddle.matmul(q_BNTD, k_BNSD, transpose_y=True)
    probs_BNTS = F.softmax(scores_BNTS if bias is None else scores_BNTS + bias)
    if probs is not None:
        probs.append(probs_BNTS)
    if rate and tuned_for_cpu(training):
        probs_BNTS = probs_BNTS * cpu_training.keep_mask(probs_BNTS, rate, axis=1)
    else:
        probs_BNTS = F.dropout(probs_BNTS, rate, training=training)
    return paddle.matmul(probs_BNTS, v_BNSD).transpose([0, 2, 1, 3])
