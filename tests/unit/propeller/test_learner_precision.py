"""Mixed precision, the dynamic loss scale, and steps whose gradient is not finite."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import paddle
import pytest

from helpers.propeller_toy import batch, cut, infer_task, task
from propeller.device import runtime
from propeller.errors import UserError
from propeller.graph import precision
from propeller.graph.optim import OptimizerConfig, ParameterRules
from propeller.graph.precision import PrecisionConfig
from propeller.learner import Learner

MATRIX_PRODUCTS = ("matmul", "matmul_v2", "linear_v2", "mul", "einsum", "fused_gemm_epilogue")


def make(dropout: float = 0.0, **arguments: Any) -> Learner:
    learner = Learner(
        OptimizerConfig(),
        PrecisionConfig(**arguments),
        seed=3,
        rules=ParameterRules(lr_ratio=lambda name, _: 0.5 if name.startswith("body") else 1.0),
    )
    learner.add(task(dropout=dropout))
    return learner


@pytest.fixture
def _float16_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "ALLOW_FLOAT16_ON_CPU", True)


def make_scaled(scale: float, **arguments: Any) -> Learner:
    """float16 in name: every operator that would be computed in it stays in float32, as a CPU has no others."""
    return make(dtype="float16", init_loss_scaling=scale, extra_black_list=MATRIX_PRODUCTS, **arguments)


def spiked(number: int, factor: float) -> dict[str, np.ndarray]:
    rows = batch(number)
    rows["factor"][0] = factor
    return rows


@pytest.mark.parametrize("factor", [np.inf, np.nan, 1e30])
@pytest.mark.parametrize("pieces", [(), (6,), (3, 6)], ids=["whole", "two", "three"])
def test_a_gradient_that_is_not_finite_changes_nothing(factor: float, pieces: tuple[int, ...]) -> None:
    learner, spared = make(), make()
    for one in (learner, spared):
        one.train_step("toy", cut(batch(0), *pieces), 0.01)
    before = learner.digest()
    # The bad row is in the first micro-batch: the buffers have to be clean again afterwards.
    result = learner.train_step("toy", cut(spiked(1, factor), *pieces), 0.01)
    assert not result.finite
    assert not np.isfinite(result.grad_norm)
    assert learner.digest() == before
    assert (learner.step, learner.skipped, learner.skipped_in_a_row) == (2, 1, 1)
    for one in (learner, spared):
        assert one.train_step("toy", cut(batch(2), *pieces), 0.01).finite
    assert learner.digest() == spared.digest()
    assert (learner.step, learner.skipped, learner.skipped_in_a_row) == (3, 1, 0)


@pytest.mark.usefixtures("_float16_anywhere")
@pytest.mark.parametrize("pieces", [(), (5,)], ids=["whole", "micro"])
def test_scaling_by_a_power_of_two_changes_no_bit(pieces: tuple[int, ...]) -> None:
    plain, scaled = make(), make_scaled(2.0**12)
    for step in range(5):
        one = plain.train_step("toy", cut(batch(step), *pieces), 0.02)
        two = scaled.train_step("toy", cut(batch(step), *pieces), 0.02)
        assert two.loss == one.loss
        assert two.grad_norm == pytest.approx(one.grad_norm, rel=1e-6)
        assert (one.loss_scale, two.loss_scale) == (1.0, 2.0**12)
    for name, array in plain.parameters().items():
        # The clipping factor is rounded in another order; nothing else is.
        np.testing.assert_allclose(scaled.parameters()[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.usefixtures("_float16_anywhere")
@pytest.mark.parametrize("pieces", [(), (5,)], ids=["whole", "micro"])
def test_the_scale_halves_on_overflow_and_grows_again(pieces: tuple[int, ...]) -> None:
    learner = make_scaled(2.0**15, incr_every_n_steps=3, decr_every_n_nan_or_inf=2)
    # A gradient that is finite, but whose scaled norm is not: about 1e16 * 2^15, squared.
    plan = [1.0, 1e16, 1e16, 1.0, 1.0, 1.0, 1.0, 1e16, 1.0, 1e16, 1.0, 1.0, 1.0]
    scales = [15, 15, 15, 14, 14, 14, 15, 15, 15, 15, 15, 15, 15]
    found = []
    for step, factor in enumerate(plan):
        before = learner.parameters()
        result = learner.train_step("toy", cut(spiked(step, factor), *pieces), 0.01)
        found.append(np.log2(result.loss_scale))
        assert result.finite == (factor == 1.0)
        same = all((array == before[name]).all() for name, array in learner.parameters().items())
        assert same == (not result.finite)
    assert found == scales
    tensors, _ = learner.state()
    assert tensors["@loss_scale"] == 2.0**16
    assert learner.skipped == 4


@pytest.mark.usefixtures("_float16_anywhere")
def test_scale_and_counters_are_part_of_the_state() -> None:
    settings = {"incr_every_n_steps": 3}
    straight, first, second = (make_scaled(2.0**15, **settings) for _ in range(3))
    factors = [1.0, 1e16, 1.0, 1.0, 1.0, 1.0, 1e16, 1.0]

    def run(learner: Learner, steps: range) -> list[float]:
        return [learner.train_step("toy", [spiked(step, factors[step])], 0.01).loss_scale for step in steps]

    expected = run(straight, range(8))
    assert len(set(expected)) == 2
    assert run(first, range(4)) == expected[:4]
    second.restore(*first.state())
    assert run(second, range(4, 8)) == expected[4:]
    assert second.digest() == straight.digest()
    assert second.skipped == 2


@pytest.mark.skipif(not runtime.cpu_bfloat16(), reason="bfloat16 needs AVX-512 on a CPU")
def test_bfloat16_follows_float32() -> None:
    exact, rough = make(dropout=0.1), make(dropout=0.1, dtype="bfloat16")
    pairs = []
    for step in range(15):
        pairs.append([one.train_step("toy", cut(batch(step), 5), 0.01).loss for one in (exact, rough)])
    losses = np.array(pairs)
    np.testing.assert_allclose(losses[:, 1], losses[:, 0], rtol=0.02)
    assert np.abs(losses[:, 1] - losses[:, 0]).max() > 1e-6, "nothing was computed in bfloat16"
    for name, array in rough.parameters().items():
        assert array.dtype == np.float32
        # Master weights: more than bfloat16's eight bits are in use.
        assert (array.view(np.uint32) & 0xFFFF).any(), name


@pytest.mark.skipif(not runtime.cpu_bfloat16(), reason="bfloat16 needs AVX-512 on a CPU")
def test_inference_in_bfloat16_returns_float32() -> None:
    def forward(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        hidden = model.hidden(model.embedding(inputs["x"]))
        return {"product": paddle.matmul(hidden, model.hidden.weight), "x": inputs["x"]}

    found = []
    for dtype in ("float32", "bfloat16"):
        learner = make(dtype=dtype)
        learner.add(dataclasses.replace(infer_task(), forward=forward))
        outputs = learner.infer("guess", batch(0))
        np.testing.assert_array_equal(outputs["x"], batch(0)["x"])
        found.append(outputs["product"])
    assert found[1].dtype == np.float32
    np.testing.assert_allclose(found[1], found[0], atol=0.02)
    assert not (found[1].view(np.uint32) & 0xFFFF).any(), "the product was not computed in bfloat16"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"dtype": "float16"}, "float16 needs a GPU"),
        ({"dtype": "bfloat16", "level": "O2"}, "O2 needs a GPU"),
        ({"dtype": "float8"}, "none of float32, bfloat16, float16"),
        ({"level": "O3"}, "none of O1, O2"),
        ({"init_loss_scaling": 0.0}, "init_loss_scaling"),
        ({"incr_ratio": 1.0}, "incr_ratio"),
        ({"decr_every_n_nan_or_inf": 0}, "decr_every_n_nan_or_inf"),
    ],
)
def test_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make(**arguments)


@pytest.mark.parametrize("flags", [{"avx2", "fma"}, {"avx512f", "avx2"}])
def test_bfloat16_on_an_old_processor_is_refused(monkeypatch: pytest.MonkeyPatch, flags: set[str]) -> None:
    monkeypatch.setattr(runtime, "cpu_flags", lambda: ("GenuineIntel", frozenset(flags)))
    with pytest.raises(UserError, match="needs AVX-512"):
        make(dtype="bfloat16")
