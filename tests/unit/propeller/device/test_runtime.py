"""Process settings: what is chosen for which processor, what is left alone, and that memory stays bounded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from propeller.device import runtime

AVX512 = frozenset(["avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"])


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", AVX512, "7"),
        ("AuthenticAMD", frozenset(["avx2", "fma", "avx512f"]), "5"),
        ("AuthenticAMD", frozenset(["avx"]), None),
        ("HygonGenuine", frozenset(["avx2", "fma"]), "5"),
        ("GenuineIntel", AVX512, None),
        ("", frozenset(), None),
    ],
)
def test_mkl_type(vendor: str, flags: frozenset[str], expected: str | None) -> None:
    assert runtime.mkl_cpu_type(vendor, flags) == expected


def test_cpuinfo_is_read() -> None:
    text = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nvendor_id\t: x\n"
    assert runtime.cpu_flags(text) == ("AuthenticAMD", frozenset(["fpu", "avx2", "fma"]))
    assert runtime.cpu_flags("Processor: ARM\n") == ("", frozenset())


def test_given_variables_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "gpu_visible", lambda environ=None: False)
    monkeypatch.setattr(runtime, "cpu_flags", lambda: ("AuthenticAMD", AVX512))
    monkeypatch.setattr(runtime, "cores", lambda: 8)
    environ = {runtime.MKL_VARIABLE: "5"}
    settings = {setting.name: setting for setting in runtime.apply(environ)}
    assert environ == {runtime.MKL_VARIABLE: "5", runtime.SERIAL_FLAG: "1", runtime.THREADS_VARIABLE: "8"}
    assert settings[runtime.MKL_VARIABLE].why == "as given in the environment"
    assert settings[runtime.SERIAL_FLAG].on


def test_a_gpu_keeps_its_concurrent_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "gpu_visible", lambda environ=None: True)
    monkeypatch.setattr(runtime, "cpu_flags", lambda: ("AuthenticAMD", AVX512))
    environ = {"OMP_NUM_THREADS": "1"}
    settings = {setting.name: setting.on for setting in runtime.apply(environ)}
    assert environ == {"OMP_NUM_THREADS": "1", runtime.MKL_VARIABLE: "7"}
    assert settings == {
        runtime.MKL_VARIABLE: True,
        runtime.THREADS_VARIABLE: False,
        runtime.SERIAL_FLAG: False,
        "mallopt": False,
        "denormals": False,
    }
    forced = {"PROPELLER_TUNE": "1"}
    runtime.apply(forced)
    assert forced[runtime.SERIAL_FLAG] == "1"
    off = {"PROPELLER_TUNE": "0"}
    assert not any(setting.on for setting in runtime.apply(off))
    assert off == {"PROPELLER_TUNE": "0"}


@pytest.mark.parametrize(
    ("environ", "threads"),
    [
        ({}, "8"),
        ({"PADDLE_TRAINERS_NUM": "2"}, "4"),
        ({"PADDLE_TRAINERS_NUM": "99"}, "1"),
        ({"OMP_NUM_THREADS": "3"}, None),
        ({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "5"}, "5"),
    ],
)
def test_threads(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], threads: str | None) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: 8)
    runtime.apply(environ)
    assert environ.get("MKL_NUM_THREADS") == threads


def test_hidden_gpus_are_not_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "installed_wheels", lambda: {"paddlepaddle-gpu": "3.3.1"})
    assert not runtime.gpu_visible({"CUDA_VISIBLE_DEVICES": ""})
    assert not runtime.gpu_visible({"CUDA_VISIBLE_DEVICES": "-1"})


BOUNDED = """
import sys, propeller
import numpy as np
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
rng = np.random.default_rng(0)
def work(n):
    live, size = [], 0
    for _ in range(n):  # buffers of all sizes from 0.4 to 12 MB that live for a while: 100 MB at most at a time
        live.append(np.ones(int(rng.integers(100_000, 3_000_000)), np.float32)); size += live[-1].nbytes
        while size > 100e6:
            gone = live.pop(int(rng.integers(len(live)))); size -= gone.nbytes; del gone
base = resident()
work(200); early = resident() - base
work(1000); late = resident() - base
print([s for s in propeller.device.runtime.report() if s.name == "mallopt"][0].on, early, late)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_memory_stays_bounded() -> None:
    """Ten times more allocations of varying sizes do not make the process grow further."""
    done = subprocess.run([sys.executable, "-c", BOUNDED], capture_output=True, text=True, check=True)
    on, early, late = done.stdout.split()
    assert on == "True"
    assert float(late) < 1.25 * float(early) + 20
    assert float(late) < 250
