"""The same mathematics, written for the device that will run it.

Paddle's CPU kernels differ in speed by factors from what their GPU counterparts suggest: the gradient of a broadcast
bias is a slow reduction while matrix products are fast, and dropout draws its numbers one by one on one thread. So
each function here has two forms, and `cpu_forms()` is the one place that says which is built: on a GPU the plain
operators, which have fused kernels there; on a CPU equal expressions out of fast kernels. The choice is made when
the graph is built (in dynamic mode: when the function is called).

Shape suffixes: N rows (B·T flattened), I and O the widths of a linear layer, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import paddle
from paddle.nn import functional as F

Value: TypeAlias = paddle.Tensor
"""A tensor of the graph being built, or an eager one: the code is the same."""

_forced: bool | None = None


def cpu_forms() -> bool:
    """Whether graphs built now get the forms for a CPU."""
    if _forced is not None:
        return _forced
    return str(paddle.get_device()).startswith("cpu")


@contextmanager
def force_forms(cpu: bool) -> Iterator[None]:
    """Build with the forms for a CPU (or for a GPU) inside the block, whatever the device; for tests."""
    global _forced
    previous, _forced = _forced, cpu
    try:
        yield
    finally:
        _forced = previous


def linear(x: Value, weight_IO: Value, bias_O: Value) -> Value:
    """x · weight + bias over the last axis.

    On a CPU the bias is added as a product with a column of ones, so that its gradient is a matrix product as well
    (100 times faster than the reduction of a broadcast addition).
    """
    if not cpu_forms():
        return F.linear(x, weight_IO, bias_O)
    ones_1 = paddle.ones_like(x[..., :1])
    ones_1.stop_gradient = True
    return paddle.matmul(x, weight_IO) + paddle.matmul(ones_1, bias_O.reshape([1, -1]))


def linear_transposed(x: Value, weight_OI: Value, bias_O: Value) -> Value:
    """x · weightᵀ + bias over the last axis, for a matrix that is stored [out, in] because it is an embedding too."""
    y = paddle.matmul(x, weight_OI, transpose_y=True)
    if not cpu_forms():
        return y + bias_O
    ones_1 = paddle.ones_like(x[..., :1])
    ones_1.stop_gradient = True
    return y + paddle.matmul(ones_1, bias_O.reshape([1, -1]))


def dropout(x: Value, rate: float, training: bool) -> Value:
    """Zero each element with probability `rate` and scale the others by 1 / (1 - rate)."""
    if rate == 0 or not training:
        return x
    return F.dropout(x, rate, training=True)
