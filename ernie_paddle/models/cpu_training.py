"""Parts of an encoder, written for training on a CPU: the same mathematics out of the kernels that are fast there.

Measured on an Intel Xeon, one thread, for 2048 × 1024 floats: one elementwise pass costs 2 to 3 ms, gelu and its
gradient 28, the gradient of a broadcast bias 50, dropout 27, adding an array that is broadcast inside 20, a matrix
product with 256 columns 9. Hence the rules: biases are added by products with a column of ones (the gradient is a
product too), constants are folded into the (small) weights, masks are spread out once, and two random numbers of
dropout are cut from each 32-bit word.

Shape suffixes: I and O the widths of a linear layer, H hidden, F feed-forward; B batch, N heads, T queries, S keys.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import paddle
from paddle.nn import functional as F

Value: TypeAlias = paddle.Tensor
"""A tensor of the graph being built, or an eager one: the code is the same."""

_ROOT = math.sqrt(0.5)
_HALF_BITS = 15
"""Bits of one random number of dropout; two are cut from each word."""


def _column_of_ones(x: Value) -> Value:
    """[..., I] -> [..., 1]."""
    ones_1 = paddle.ones_like(x[..., :1])
    ones_1.stop_gradient = True
    return ones_1


def linear(x: Value, weight_IO: Value, bias_O: Value) -> Value:
    """x · weight + bias, by products alone.

    Either the bias is one more row of the weight, and x has one more column, of ones; or, where x is wider than the
    result, the repeated bias is a product of its own.
    """
    ones_1, bias_1O = _column_of_ones(x), bias_O.reshape([1, -1])
    n_in, n_out = weight_IO.shape
    if n_in < n_out:
        return paddle.matmul(paddle.concat([x, ones_1], axis=-1), paddle.concat([weight_IO, bias_1O]))
    return paddle.matmul(x, weight_IO) + paddle.matmul(ones_1, bias_1O)


def linear_transposed(x: Value, weight_OI: Value, bias_O: Value) -> Value:
    """x · weightᵀ + bias, by products alone."""
    return paddle.matmul(x, weight_OI, transpose_y=True) + paddle.matmul(_column_of_ones(x), bias_O.reshape([1, -1]))


def feed_forward_gelu(x: Value, weight_HF: Value, bias_F: Value, weight_FH: Value, bias_H: Value) -> Value:
    """gelu(x · weight + bias) · weight + bias.

    With h = (x · weight + bias) / √2, gelu is h · (1 + erf(h)) / √2; both roots are folded into the weights.
    """
    h = linear(x, weight_HF * _ROOT, bias_F * _ROOT)
    return linear(h * (paddle.erf(h) + 1.0), weight_FH * _ROOT, bias_H)


def spread_bias(bias: Value, n_heads: int) -> Value:
    """[B, 1, 1 or T, S] -> [B, N, T, S], once for all blocks: adding a broadcast array costs ten times as much.

    (A single row for all queries is spread by a product with ones.)
    """
    if bias.shape[2] == 1:
        bias = paddle.matmul(paddle.ones_like(bias).transpose([0, 1, 3, 2]), bias)
    bias = paddle.concat([bias] * n_heads, axis=1)
    bias.stop_gradient = True
    return bias


def keep_mask(x: Value, rate: float, axis: int = -1) -> Value:
    """Factors of dropout for x: 0 with probability `rate`, else 1 / (1 - rate).

    Args:
        x: gives the shape.
        rate: rounded to a multiple of 2⁻¹⁵, at least one; the factor is the exact one of the rounded rate.
        axis: the two random numbers of a word go to the halves of this axis; its size must be known when the graph is
            built. If it is odd, Paddle's dropout makes the mask.

    Returns:
        float32, the shape of x, without a gradient.
    """
    size = x.shape[axis]
    if size % 2:
        keep = F.dropout(paddle.ones_like(x), rate)
    else:
        limit = max(1, round(rate * 2**_HALF_BITS))
        shape = [n if n >= 0 else paddle.shape(x)[i] for i, n in enumerate(x.shape)]
        shape[axis] = size // 2
        words = paddle.randint(0, 2 ** (2 * _HALF_BITS), shape, dtype="int32")
        low = paddle.bitwise_and(words, _int32(2**_HALF_BITS - 1)) >= _int32(limit)
        high = words >= _int32(limit << _HALF_BITS)
        keep = paddle.concat([low, high], axis).astype("float32") * (1.0 / (1.0 - limit * 2.0**-_HALF_BITS))
    keep.stop_gradient = True
    return keep


def _int32(value: int) -> Value:
    return paddle.full([1], value, "int32")
