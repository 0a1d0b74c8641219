"""Device-specific operators; at present only attention.

On a GPU attention is one fused operator. On a CPU it consists of products and a softmax; other operators that are slow
on a CPU are replaced when a training graph is finished (`propeller.graph.cpu_graph`), so the models use plain
operators.

Shape suffixes: B batch, T queries, S keys, N heads, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import paddle
from paddle.nn import functional as F

from propeller.device import static

Value: TypeAlias = paddle.Tensor
"""A tensor of the graph being built or an eager tensor; the code is the same for both."""

_forced_fused: bool | None = None


def fused_attention() -> bool:
    """Whether attention is built as one fused operator, which is the case on a GPU."""
    return static.on_gpu() if _forced_fused is None else _forced_fused


@contextmanager
def force_fused_attention(fused: bool) -> Iterator[None]:
    """Build fused or unfused attention inside the block, whatever the device; for tests."""
    global _forced_fused
    previous, _forced_fused = _forced_fused, fused
    try:
        yield
    finally:
        _forced_fused = previous


def attention(
    q_BTND: Value,
    k_BSND: Value,
    v_BSND: Value,
    bias: Value | None,
    rate: float,
    training: bool,
    probs: list[Value] | None = None,
) -> Value:
    """dropout(softmax(q · kᵀ / √D + bias)) · v for each head.

    Args:
        q_BTND: Queries.
        k_BSND: Keys.
        v_BSND: Values.
        bias: float32, broadcast to [B, N, T, S], without a gradient.
        rate: Dropout rate.
        training: Whether dropout is applied.
        probs: List to which the softmax [B, N, T, S] is appended; attention is then not fused.

    Returns:
        [B, T, N, D].
    """
    if fused_attention() and probs is None:
        if bias is not None:
            bias = bias.astype(q_BTND.dtype)
        rate = rate if training else 0.0
        return F.scaled_dot_product_attention(q_BTND, k_BSND, v_BSND, bias, rate, training=training)
    q_BNTD, k_BNSD, v_BNSD = (x.transpose([0, 2, 1, 3]) for x in (q_BTND, k_BSND, v_BSND))
    scores_BNTS = paddle.matmul(q_BNTD * q_BTND.shape[3] ** -0.5, k_BNSD, transpose_y=True)
    probs_BNTS = F.softmax(scores_BNTS if bias is None else scores_BNTS + bias)
    if probs is not None:
        probs.append(probs_BNTS)
    return paddle.matmul(F.dropout(probs_BNTS, rate, training=training), v_BNSD).transpose([0, 2, 1, 3])
