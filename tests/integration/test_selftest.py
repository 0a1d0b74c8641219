"""The checks of the GPU self-test, run on the CPU as far as it can: they pass, and they can fail."""

from __future__ import annotations

from typing import Any

import pytest

from propeller.device import runtime, static
from propeller.graph import precision
from propeller.graph.precision import PrecisionConfig
from propeller.tools import selftest

PRODUCTS = ("matmul", "matmul_v2", "linear_v2", "mul", "fused_gemm_epilogue")


@pytest.fixture(scope="module")
def reference() -> list[float]:
    check, losses = selftest.check_float32("cpu")
    assert check.ok, check
    return losses


@pytest.mark.skipif(not runtime.cpu_bfloat16(), reason="bfloat16 needs AVX-512 on a CPU")
def test_bfloat16(reference: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    for check in (
        selftest.check_precision("cpu", "bfloat16", "O1", reference),
        selftest.check_small_updates("cpu", "bfloat16", "O1"),
    ):
        assert check.ok, check
    wrong = [loss + 0.2 * reference[0] for loss in reference]
    monkeypatch.setattr(selftest, "train", lambda learner: wrong)
    assert selftest.check_precision("cpu", "bfloat16", "O1", reference).ok is False


@pytest.mark.parametrize(("grows_after", "ok"), [(2, True), (1000, False)])
def test_loss_scale(monkeypatch: pytest.MonkeyPatch, grows_after: int, ok: bool) -> None:
    monkeypatch.setattr(precision, "ALLOW_FLOAT16_ON_CPU", True)

    def make(scale: float) -> PrecisionConfig:
        return PrecisionConfig("float16", "O1", scale, incr_every_n_steps=grows_after, extra_black_list=PRODUCTS)

    assert selftest.check_loss_scale("cpu", make).ok is ok


def test_difference_of_curves() -> None:
    assert selftest.difference([2.0, 1.5], [2.0, 1.0]) == pytest.approx(0.25)
    assert selftest.difference([2.0, float("nan")], [2.0, 1.0]) == float("inf")


def test_two_processes_equal_one() -> None:
    check = selftest.two_processes("cpu")
    assert check.ok, check


def test_a_crash_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_subprocess", lambda *arguments: "exit code -11: Segmentation fault")
    monkeypatch.setattr(selftest, "two_processes", lambda *arguments: selftest.Check("cpu", "x", True, ""))
    assert selftest.main("cpu") == 1


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert selftest.main("gpu") == 2
    assert "needs an NVIDIA GPU" in capsys.readouterr().err


def test_the_wrong_device_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_gpu() -> Any:
        return False

    monkeypatch.setattr(static, "on_gpu", on_gpu)
    (check,) = selftest.check_device("gpu 0", "gpu")
    assert check.ok is False
