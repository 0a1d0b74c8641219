"""Denormal numbers are zero in this process's threads, Paddle's among them, and only where that is wanted."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import warnings
warnings.simplefilter("error")
import propeller
warnings.simplefilter("error", UserWarning)
import numpy
numpy.finfo(numpy.float32).smallest_subnormal  # NumPy may warn of a processor without denormals
warnings.simplefilter("default")
import threading
import numpy as np, paddle
from propeller.device import static
from propeller.graph.variables import Variables
small = np.array([1e-40, 1.0], np.float32)
found = [small * np.float32(0.5)]
thread = threading.Thread(target=lambda: found.append(small * np.float32(0.5)))
thread.start(); thread.join()
static.enable()
program = paddle.static.Program()
with paddle.static.program_guard(program):
    x = paddle.static.data("x", [2], "float32")
    y = x * 0.5
found += paddle.static.Executor().run(program, feed={"x": small}, fetch_list=[y])
print([bool(a[0] == 0) for a in found], [float(a[1]) for a in found])
"""


def zeros(**environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the mode is set on Linux and x86-64 only"
)
def test_denormals_are_zero_in_all_threads_unless_switched_off() -> None:
    assert zeros(PROPELLER_TUNE="1") == "[True, True, True] [0.5, 0.5, 0.5]"
    assert zeros(PROPELLER_TUNE="0") == "[False, False, False] [0.5, 0.5, 0.5]"
