"""Faster training graphs on a CPU: rewriting a Program after its backward part was appended.

Some of Paddle's CPU kernels are several times slower than others that compute the same, and `speed_up` replaces them.
Results differ only by the order of sums and by the random numbers of dropout. Measured on an Intel Xeon, one thread, in
milliseconds for 2048 × 1024 floats, before -> after:

* the gradient of an added vector, a sum over rows: 50 -> 0.1, as a product with a row of ones;
* ``layer_norm_grad``: 33 -> 17, the same formula out of products and elementwise operators;
* ``gelu`` and its gradient: 28 -> 20, out of ``erf``, of which the forward result is used again;
* ``dropout`` and its gradient: 29 -> 17: two random numbers from each word, not one at a time;
* adding an array that is broadcast in the middle (a mask to scores): 20 -> 3, broadcast once for all its uses;
* the sum of two gradients: 4 -> 2, in place.

Only float32 is rewritten.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import paddle
from paddle import pir

_C_ops: Any = paddle._C_ops

Operation = Any
Value = Any
Rewritten = list["Value | None"] | None
"""The values that replace the results of an operator (None for an unused result), or None to keep the operator."""

_HALF_BITS = 15
"""Bits of one random number of dropout; two are cut from each word."""


def speed_up(program: paddle.static.Program) -> dict[str, int]:
    """Rewrite a finished training Program in place.

    Returns:
        The number of replaced operators of each kind.
    """
    replaced: dict[str, int] = {}
    with paddle.static.program_guard(program):
        _apply(program.global_block(), _Rewriter().rules, replaced)
        _apply(program.global_block(), {"pd_op.add": _add_in_place}, replaced)
        pir.set_insertion_point_to_block_end(program.global_block())
    return replaced


def _apply(block: Any, rules: dict[str, Callable[[Operation], Rewritten]], replaced: dict[str, int]) -> None:
    # The list holds only operators with a rule; operators that a rule removes besides (such as a gradient) have none.
    for operation in [op for op in block.ops if op.name() in rules]:
        name = operation.name()
        if not _is_float32(next((value for value in operation.results() if value.initialized()), None)):
            continue
        pir.set_insertion_point(operation)
        results = rules[name](operation)
        if results is not None:
            _replace(operation, results)
            replaced[name] = replaced.get(name, 0) + 1


def _is_float32(value: Value | None) -> bool:
    return value is not None and value.is_dense_tensor_type() and value.dtype == paddle.float32


def _replace(operation: Operation, results: list[Value | None]) -> None:
    """Replace the results of an operator by other values, and remove the operator."""
    for old, new in zip(operation.results(), results, strict=True):
        if new is not None and old.initialized():
            old.replace_all_uses_with(new)
    operation.get_parent_block().remove_op(operation)


class _Rewriter:
    """The rules, and their state while a Program is rewritten."""

    def __init__(self) -> None:
        self._spread: list[tuple[Value, int, Value]] = []
        self.rules: dict[str, Callable[[Operation], Rewritten]] = {
            "pd_op.add": self._add,
            "pd_op.add_grad": _add_grad,
            "pd_op.add_n": _add_n,
            "pd_op.dropout": self._dropout,
            "pd_op.gelu": self._gelu,
            "pd_op.layer_norm_grad": _layer_norm_grad,
        }

    def _add(self, operation: Operation) -> Rewritten:
        """x [A, N, T, S] + y [A, 1, 1, S] or [A, 1, T, S]: y is broadcast once for all such sums with y."""
        x, y = operation.operand_source(0), operation.operand_source(1)
        if len(x.shape) != 4 or len(y.shape) != 4 or y.shape[1] != 1 or x.shape[1] <= 1 or y.shape[3] == 1:
            return None
        if x.shape[2] == 1:
            return None
        size = x.shape[1]
        for known, known_size, wide in self._spread:
            if known.is_same(y) and known_size == size:
                return [x + wide]
        wide = y
        if y.shape[2] == 1:
            wide = paddle.matmul(paddle.ones_like(x[:, :1, :, :1]), y)
        wide = paddle.concat([wide] * size, axis=1)
        self._spread.append((y, size, wide))
        return [x + wide]

    def _gelu(self, operation: Operation) -> Rewritten:
        """x · Φ(x), and its gradient g · (Φ(x) + x · φ(x)), with Φ kept for the gradient."""
        x = operation.operand_source(0)
        gradients = [op for op in x.all_used_ops() if op.name() == "pd_op.gelu_grad"]
        if operation.attrs()["approximate"] or len(gradients) != 1:
            return None
        scaled = x * math.sqrt(0.5)
        cumulative = _C_ops.scale_(paddle.erf(scaled), 0.5, 0.5, True)
        result = x * cumulative
        (gradient,) = gradients
        pir.set_insertion_point(gradient)
        g = gradient.operand_source(1)
        # erf_grad is g · exp(-x² / 2) · 2/√π; x · φ(x) · g is that times x / √2, halved.
        density = _C_ops.scale_(_C_ops.multiply_(_C_ops.erf_grad(scaled, g), scaled), 0.5, 0.0, True)
        _replace(gradient, [_C_ops.add_(density, g * cumulative)])
        return [result]

    def _dropout(self, operation: Operation) -> Rewritten:
        """x times a mask of 0 and 1 / (1 - rate), and the gradient times the same mask."""
        x, mask = operation.operand_source(0), operation.result(1)
        attributes = operation.attrs()
        gradients = mask.all_used_ops()
        rate = _constant(operation.operand_source(2))
        plain = attributes["mode"] == "upscale_in_train" and not attributes["is_test"] and not attributes["fix_seed"]
        axis = next((i for i in reversed(range(len(x.shape))) if x.shape[i] > 0 and x.shape[i] % 2 == 0), None)
        if not plain or rate is None or not 0 < rate < 1 or axis is None:
            return None
        if any(op.name() != "pd_op.dropout_grad" for op in gradients):
            return None
        keep = keep_mask(x, rate, axis)
        result = x * keep
        for gradient in gradients:
            pir.set_insertion_point(gradient)
            _replace(gradient, [gradient.operand_source(1) * keep])
        return [result, None]


def _constant(value: Value) -> float | None:
    """The number that a value of the graph always has, or None."""
    operation = value.get_defining_op()
    return float(operation.attrs()["value"]) if operation.name() == "pd_op.full" else None


def keep_mask(x: Value, rate: float, axis: int) -> Value:
    """Factors of dropout for x: 0 with probability `rate`, else 1 / (1 - rate).

    Args:
        x: gives the shape.
        rate: rounded to a multiple of 2⁻¹⁵, at least one; the factor is the exact one of the rounded rate.
        axis: the two random numbers of a word go to the halves of this axis; its size is known and even.

    Returns:
        float32, the shape of x, without a gradient.
    """
    limit = max(1, round(rate * 2**_HALF_BITS))
    shape = [size if size >= 0 else paddle.shape(x)[i] for i, size in enumerate(x.shape)]
    shape[axis] = x.shape[axis] // 2
    words = paddle.randint(0, 2 ** (2 * _HALF_BITS), shape, dtype="int32")
    low = paddle.bitwise_and(words, _int32(2**_HALF_BITS - 1)) >= _int32(limit)
    high = words >= _int32(limit << _HALF_BITS)
    keep = paddle.concat([low, high], axis).astype("float32")
    keep = _C_ops.scale_(keep, 1.0 / (1.0 - limit * 2.0**-_HALF_BITS), 0.0, True)
    keep.stop_gradient = True
    return keep


def _int32(value: int) -> Value:
    return paddle.full([1], value, "int32")


def _add_grad(operation: Operation) -> Rewritten:
    """(x, y, gradient of x + y) -> gradients of x and y, where y is a vector along the last axis or needs none."""
    x, y, gradient = (operation.operand_source(i) for i in range(3))
    if not x.shape or len(y.shape) != 1 or y.shape[0] != x.shape[-1] or y.shape[0] <= 1:
        return None
    ones = paddle.ones_like(gradient[..., :1])
    # The gradient of the product of a column of ones and a row, which joins the leading axes without a copy.
    _, total = _C_ops.matmul_grad(ones, y.reshape([1, -1]), gradient, False, False)
    return [gradient, total.reshape([-1])]


def _add_in_place(operation: Operation) -> Rewritten:
    """x + a vector, where x is a product that nothing else uses (any more)."""
    x, y = operation.operand_source(0), operation.operand_source(1)
    source = x.get_defining_op()
    if not x.shape or len(y.shape) != 1 or y.shape[0] != x.shape[-1] or y.shape[0] <= 1:
        return None
    if source is None or source.name() != "pd_op.matmul" or len(x.all_used_ops()) != 1:
        return None
    return [_C_ops.add_(x, y)]


def _layer_norm_grad(operation: Operation) -> Rewritten:
    """(x, weight, bias, mean, variance, gradient) -> gradients of x, weight and bias; over the last axis only."""
    x, weight, bias, mean, variance, gradient = (operation.operand_source(i) for i in range(6))
    attributes = operation.attrs()
    if attributes["begin_norm_axis"] != len(x.shape) - 1 or not (weight.initialized() and bias.initialized()):
        return None
    width = weight.shape[0]
    column = paddle.concat([paddle.shape(x)[:-1], paddle.full([1], 1, "int64")])
    centred = x - paddle.reshape(mean, column)
    scale = paddle.rsqrt(paddle.reshape(variance, column) + attributes["epsilon"])
    row = weight.reshape([1, width])
    # Each of these makes the sum over a row weighted by ``weight``, and the sum over all rows.
    along, d_weight = _C_ops.matmul_grad(scale, row, gradient * centred, False, False)
    mean_gradient, d_bias = _C_ops.matmul_grad(paddle.ones_like(scale), row, gradient, False, False)
    along = along * scale * scale * scale * (1.0 / width)
    mean_gradient = mean_gradient * scale * (1.0 / width)
    subtracted = _C_ops.add_(_C_ops.multiply_(centred, along), mean_gradient)
    dx = _C_ops.subtract_(_C_ops.multiply_(paddle.matmul(scale, row), gradient), subtracted)
    return [dx, d_weight.reshape([-1]), d_bias.reshape([-1])]


def _add_n(operation: Operation) -> Rewritten:
    """[a, b] -> a + b."""
    combine = operation.operand_source(0).get_defining_op()
    if combine.num_operands() != 2:
        return None
    return [combine.operand_source(0) + combine.operand_source(1)]
