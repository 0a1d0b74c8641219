"""Denormal numbers: below 1.2e-38, a float32 loses digits one by one, and every operation on it takes a hundred cycles.

Gradients of a deep network reach that range, where they have no effect; a thousandth of denormal numbers is enough to
make a matrix product ten times slower. The processor can be set, for each thread, to treat denormal numbers as zero.
Threads inherit this mode from the thread that starts them, so it is set before any thread is started.
"""

from __future__ import annotations

import ctypes
import platform
import sys

# fenv_t of glibc on x86-64: 28 bytes of the old coprocessor, then the control register of the vector unit.
_WORDS = 8
_CONTROL = 7
_FLUSH_RESULTS = 0x8000
_ARGUMENTS_ARE_ZERO = 0x0040


def flush_denormals() -> tuple[bool, str]:
    """Treat denormal numbers as zero in this thread and in all that it starts later; returns (done, reason)."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        return False, "needs glibc on Linux and an x86-64 processor"
    _let_numpy_look()
    try:
        library = ctypes.CDLL("libm.so.6")
    except OSError:
        return False, "the mathematics library of the C library cannot be opened"
    environment = (ctypes.c_uint32 * _WORDS)()
    if library.fegetenv(environment) != 0:
        return False, "refused by the C library"
    environment[_CONTROL] |= _FLUSH_RESULTS | _ARGUMENTS_ARE_ZERO
    if library.fesetenv(environment) != 0:
        return False, "refused by the C library"
    return True, "numbers below 1.2e-38 count as zero instead of slowing matrix products ten times"


def _let_numpy_look() -> None:
    """Let NumPy look for the smallest denormal of each type, which it does once; later it would warn to find none."""
    try:
        import numpy as np
    except ImportError:  # before installation: the doctor runs without anything
        return
    for kind in (np.float32, np.float64):
        _ = np.finfo(kind).smallest_subnormal
