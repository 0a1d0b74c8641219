"""Rewritten training graphs compute what the plain ones do, every rule is really used, and dropout is dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

import propeller  # noqa: F401  (applies the process settings before Paddle is imported)

# isort: split
import paddle
from paddle.nn import functional as F

from propeller.device import runtime
from propeller.graph import cpu_graph

RNG = np.random.default_rng(5)
Function = Callable[..., Any]


@pytest.fixture(autouse=True)
def _static() -> Iterator[None]:
    paddle.enable_static()
    yield
    paddle.disable_static()


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def run(function: Function, arrays: list[np.ndarray], fast: bool, dtype: str = "float32") -> tuple[list[Any], Any]:
    """Output of a function and the gradients of a weighted sum of it, from a graph, and what was rewritten in that."""
    program = paddle.static.Program()
    with paddle.static.program_guard(program), paddle.utils.unique_name.guard():
        fed = [paddle.static.data(f"x{i}", [-1, *a.shape[1:]], "float32") for i, a in enumerate(arrays)]
        for value in fed:
            value.stop_gradient = False
        output = function(*[paddle.cast(value, dtype) if dtype != "float32" else value for value in fed])
        output = paddle.cast(output, "float32")
        weights = paddle.static.data("weights", output.shape, "float32")
        gradients = paddle.static.gradients([(output * weights).sum()], fed)
        kept = [gradient for gradient in gradients if gradient is not None]
        # What is fetched must be named by an operator, for a gradient may be replaced.
        results = [paddle.assign(value) for value in (output, *kept)]
    replaced = cpu_graph.speed_up(program) if fast else {}
    sizes = [a.shape for a in arrays]
    feed = {f"x{i}": a for i, a in enumerate(arrays)}
    feed["weights"] = np.random.default_rng(9).standard_normal(_shape(output.shape, sizes)).astype(np.float32)
    paddle.seed(7)
    return paddle.static.Executor(paddle.CPUPlace()).run(program, feed=feed, fetch_list=results), replaced


def _shape(shape: list[int], sizes: list[tuple[int, ...]]) -> list[int]:
    return [sizes[0][0] if size < 0 else size for size in shape]


def add_vector(x: Any, y: Any) -> Any:
    return x * 2.0 + y.sum([0])


def layer_norm(x: Any, y: Any) -> Any:
    row = y.sum([0])
    return F.layer_norm(x, x.shape[-1], weight=row * 0.5, bias=row * 0.1, epsilon=1e-5)


def gelu(x: Any) -> Any:
    return F.gelu(x * 1.5)


def several_uses(x: Any) -> Any:
    """Three paths to x, so that its gradient is an add_n of three; and one of two."""
    y = F.relu(x)
    return (x * x + F.relu(x)) * x + y * F.sigmoid(y)


def masked_scores(x: Any, mask: Any) -> Any:
    """Scores [B, N, T, S] plus a mask [B, 1, 1, S], twice."""
    mask = mask.detach()
    mask.stop_gradient = True
    first = F.softmax(x + mask)
    return F.softmax(first * 3.0 + mask)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (add_vector, [(6, 5), (3, 5)], {"pd_op.add_grad"}),
        (add_vector, [(6, 4, 5), (3, 5)], {"pd_op.add_grad"}),
        (layer_norm, [(6, 8), (3, 8)], {"pd_op.layer_norm_grad"}),
        (layer_norm, [(4, 3, 8), (3, 8)], {"pd_op.layer_norm_grad"}),
        (gelu, [(6, 5)], {"pd_op.gelu"}),
        (gelu, [(2, 3, 5)], {"pd_op.gelu"}),
        (several_uses, [(6, 5)], {"pd_op.add_n"}),
        (masked_scores, [(2, 3, 4, 5), (2, 1, 1, 5)], {"pd_op.add"}),
        (masked_scores, [(2, 3, 5, 5), (2, 1, 5, 5)], {"pd_op.add"}),
    ],
)
def test_every_rule_keeps_results_and_gradients(
    function: Function, shapes: list[tuple[int, ...]], expected: set[str]
) -> None:
    arrays = [floats(*shape) for shape in shapes]
    plain, _ = run(function, arrays, fast=False)
    fast, replaced = run(function, arrays, fast=True)
    assert expected <= set(replaced), replaced
    for ours, theirs in zip(fast, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=3e-5, atol=3e-5)
    assert np.abs(plain[1]).max() > 1e-2


def test_gelu_of_extreme_numbers() -> None:
    x = np.array([[-40.0, -8.0, -1e-3, 0.0, 1e-3, 8.0, 40.0]], np.float32) / 1.5
    plain, fast = (run(gelu, [x], fast)[0] for fast in (False, True))
    for ours, theirs in zip(fast, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.skipif(not runtime.cpu_bfloat16(), reason="bfloat16 needs AVX-512 on a CPU")
def test_half_precision_is_left_alone() -> None:
    def both(x: Any, y: Any) -> Any:
        return F.gelu(add_vector(x, y))

    arrays = [floats(6, 8), floats(3, 8)]
    assert run(both, arrays, fast=True)[1].keys() >= {"pd_op.add_grad", "pd_op.gelu"}
    assert not run(both, arrays, fast=True, dtype="bfloat16")[1].keys() & {"pd_op.add_grad", "pd_op.gelu"}


def test_sums_that_are_not_of_a_vector_are_left_alone() -> None:
    def column(x: Any, y: Any) -> Any:
        return x * 2.0 + y

    def number(x: Any, y: Any) -> Any:
        return x * (paddle.max(x) + paddle.mean(y.sum(0), keepdim=True))

    arrays = [floats(6, 5), floats(6, 1)]
    for function in (column, number):
        plain, fast = (run(function, arrays, fast)[0] for fast in (False, True))
        for ours, theirs in zip(fast, plain, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("shape", "axis"), [([64, 512], 1), ([16, 4, 32, 16], 1)])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_rate_scale_and_independence(shape: list[int], axis: int, rate: float) -> None:
    """Two-sided binomial tests (the smallest p of all is tiny only if something is wrong), and the exact scale."""
    paddle.disable_static()
    paddle.seed(11)
    mask = cpu_graph.keep_mask(paddle.ones(shape), rate, axis).numpy()
    dropped = mask == 0
    assert stats.binomtest(int(dropped.sum()), dropped.size, rate).pvalue > 1e-4
    kept_rate = 1 - round(rate * 2**15) / 2**15
    np.testing.assert_allclose(mask[~dropped], 1 / kept_rate, rtol=2e-5)
    # The two halves of a word, and neighbours along the last axis, have nothing to do with each other.
    half = shape[axis] // 2
    first, second = np.take(dropped, range(half), axis), np.take(dropped, range(half, 2 * half), axis)
    for a, b in ((first, second), (dropped[..., 1:], dropped[..., :-1])):
        assert stats.binomtest(int((a & b).sum()), a.size, rate**2).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(8, 32), (3, 7), (4, 2, 6)], ids=["even", "odd", "three axes"])
def test_dropout_follows_the_seed_and_passes_its_mask_to_the_gradient(shape: tuple[int, ...]) -> None:
    def dropout(x: Any) -> Any:
        return F.dropout(x * 1.0, 0.3)

    x = floats(*shape)
    (y, gradient), replaced = run(dropout, [x], fast=True)
    assert ("pd_op.dropout" in replaced) == any(size % 2 == 0 for size in shape[1:])
    assert 0 < (y == 0).mean() < 0.8
    weights = np.random.default_rng(9).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(gradient * x, y * weights, rtol=1e-5)
    np.testing.assert_array_equal(run(dropout, [x], fast=True)[0][0], y)
