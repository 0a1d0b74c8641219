"""Process settings that make Paddle fast on a CPU, applied once, before Paddle is imported.

These settings address the five largest costs:

* glibc returns every large buffer to the kernel and faults it in again at the next operator (``mallopt`` stops it);
* the graph executor runs independent operators at the same time, and they fight for the same cores (a serial executor
  is faster, and frees activations sooner, so the peak is a third);
* the MKL inside the wheel picks a slow code path on processors that are not Intel's (``MKL_DEBUG_CPU_TYPE``);
* Paddle sets ``OMP_NUM_THREADS=1`` when it is imported without it, and MKL then uses one core (``MKL_NUM_THREADS``
  is what MKL looks at first, and Paddle leaves it alone);
* gradients run into denormal numbers, which are slow (``propeller.device.denormals``).

``PROPELLER_TUNE=0`` turns all settings off; ``PROPELLER_TUNE=1`` applies the CPU settings even where a GPU is visible.
A variable that is already in the environment is never changed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import warnings
from collections.abc import MutableMapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from propeller.device.denormals import flush_denormals

SERIAL_FLAG = "FLAGS_new_executor_serial_run"
MKL_VARIABLE = "MKL_DEBUG_CPU_TYPE"
THREADS_VARIABLE = "MKL_NUM_THREADS"
SWITCH = "PROPELLER_TUNE"

# Parameters of glibc's mallopt (malloc.h) and the values that keep freed memory in the process.
_MALLOPT = (
    ("M_MMAP_MAX", -4, 0),  # never a private mapping per large buffer
    ("M_TRIM_THRESHOLD", -1, 2**31 - 1),  # never give the top of the heap back
    ("M_TOP_PAD", -2, 512 * 1024 * 1024),  # grow the heap in few, large steps
    ("M_ARENA_MAX", -8, 1),  # one heap, so that what one thread frees another can use
)


_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})


@dataclass(frozen=True)
class Setting:
    """One setting: its name, the value in force, whether it is on, and the reason why it is on or off."""

    name: str
    value: str
    on: bool
    why: str

    def __str__(self) -> str:
        return f"{self.name:<30} {'on ' if self.on else 'off'} {self.value or '-':<4} {self.why}"


_applied: list[Setting] | None = None


def cpu_flags(cpuinfo: str | None = None) -> tuple[str, frozenset[str]]:
    """(vendor, instruction-set flags) of the first processor, from the text of ``/proc/cpuinfo``; empty if unknown."""
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            cpuinfo = ""
    vendor, flags = "", frozenset[str]()
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "vendor_id" and not vendor:
            vendor = value.strip()
        elif key.strip() == "flags" and not flags:
            flags = frozenset(value.split())
    return vendor, flags


def mkl_cpu_type(vendor: str, flags: frozenset[str]) -> str | None:
    """The value of ``MKL_DEBUG_CPU_TYPE`` that fits the processor: 7 with AVX-512, 5 with AVX2 only, else None.

    The value is None on Intel processors, too, where MKL itself chooses well.
    """
    if vendor in ("", "GenuineIntel"):
        return None
    if flags >= _AVX512:
        return "7"
    if {"avx2", "fma"} <= flags:
        return "5"
    return None


def cpu_bfloat16() -> bool:
    """Whether Paddle's matrix products in bfloat16 work on this processor: without AVX-512 they raise an exception.

    The result is True where the instruction set is not known.
    """
    _, flags = cpu_flags()
    return not flags or flags >= _AVX512


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_wheels() -> dict[str, str]:
    """Versions of the Paddle wheels that are installed, by distribution name, without importing Paddle."""
    found = {}
    for name in ("paddlepaddle", "paddlepaddle-gpu"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gpu_visible(environ: MutableMapping[str, str] | None = None) -> bool:
    """Whether there is an NVIDIA device, ``CUDA_VISIBLE_DEVICES`` does not hide it, and the GPU wheel is installed."""
    environ = os.environ if environ is None else environ
    hidden = environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1", "none", "NoDevFiles"):
        return False
    if "paddlepaddle-gpu" not in installed_wheels():
        return False
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def _glibc_mallopt() -> ctypes._NamedFuncPointer | None:
    """glibc's ``mallopt``, or None on another C library or system."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return None
    try:
        function = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int]
    function.restype = ctypes.c_int
    return function


def _keep_freed_memory() -> tuple[bool, str]:
    """Set mallopt's parameters; returns (done, reason)."""
    mallopt = _glibc_mallopt()
    if mallopt is None:
        return False, "needs glibc on Linux"
    refused = [name for name, parameter, value in _MALLOPT if mallopt(parameter, value) != 1]
    if refused:
        return False, f"refused by the C library: {', '.join(refused)}"
    return True, "freed memory stays in the process instead of being faulted in again"


def _set_variable(environ: MutableMapping[str, str], name: str, value: str, why: str) -> Setting:
    """Set an environment variable unless it is set already; the returned setting says which was the case."""
    if name in environ:
        return Setting(name, environ[name], True, "as given in the environment")
    environ[name] = value
    return Setting(name, value, True, why)


def apply(environ: MutableMapping[str, str] | None = None) -> list[Setting]:
    """Apply the settings to this process (in the first call only) and return them, without importing Paddle.

    `environ` is for tests: only the environment variables are then set, in this mapping.
    """
    global _applied
    if environ is None and _applied is not None:
        return _applied
    real = environ is None
    variables: MutableMapping[str, str] = os.environ if environ is None else environ
    settings = _decide(variables, real)
    if real:
        # Paddle's C++ extension helper warns about a missing compiler cache at every import; nothing here compiles.
        warnings.filterwarnings("ignore", message="No ccache found")
        _applied = settings
    return settings


def _decide(environ: MutableMapping[str, str], real: bool) -> list[Setting]:
    switch = environ.get(SWITCH, "")
    names = (MKL_VARIABLE, THREADS_VARIABLE, SERIAL_FLAG, "mallopt", "denormals")
    if switch == "0":
        return [Setting(name, environ.get(name, ""), name in environ, f"{SWITCH}=0") for name in names]
    if real and "paddle" in sys.modules:
        why = "Paddle was imported before propeller: import propeller first"
        return [Setting(name, environ.get(name, ""), name in environ, why) for name in names]

    settings = []
    vendor, flags = cpu_flags()
    mkl_type = mkl_cpu_type(vendor, flags)
    if mkl_type is None and MKL_VARIABLE not in environ:
        why = "MKL chooses well on an Intel processor" if vendor == "GenuineIntel" else "no AVX2 here, or not x86"
        settings.append(Setting(MKL_VARIABLE, "", False, why))
    else:
        why = f"{'AVX-512' if mkl_type == '7' else 'AVX2'} code paths of MKL on a processor of {vendor}"
        settings.append(_set_variable(environ, MKL_VARIABLE, mkl_type or "", why))
    if "OMP_NUM_THREADS" in environ and THREADS_VARIABLE not in environ:
        settings.append(Setting(THREADS_VARIABLE, "", False, f"OMP_NUM_THREADS={environ['OMP_NUM_THREADS']} is given"))
    else:
        workers = environ.get("PADDLE_TRAINERS_NUM", "1")
        share = max(1, cores() // max(1, int(workers) if workers.isdigit() else 1))
        settings.append(_set_variable(environ, THREADS_VARIABLE, str(share), "matrix products on this process's cores"))

    if switch != "1" and gpu_visible(environ):
        why = f"a GPU is visible; {SWITCH}=1 forces it"
        settings += [
            Setting(name, environ.get(name, ""), name in environ, why) for name in (SERIAL_FLAG, "mallopt", "denormals")
        ]
        return settings
    settings.append(
        _set_variable(environ, SERIAL_FLAG, "1", "operators one after another: faster, a third of the memory")
    )
    done, why = _keep_freed_memory() if real else (False, "not a real process")
    settings.append(Setting("mallopt", "", done, why))
    done, why = flush_denormals() if real else (False, "not a real process")
    settings.append(Setting("denormals", "", done, why))
    return settings


def report() -> list[Setting]:
    """The settings of this process as they were applied; the first call applies them."""
    return apply()
