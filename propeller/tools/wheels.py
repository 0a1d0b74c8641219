"""The choice of the PaddlePaddle build for a machine, and the pip command that installs it; needs only Python."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from propeller.errors import UserError

REQUIRED = ">=3.3,<3.4"
_INDEX = "https://www.paddlepaddle.org.cn/packages/stable/{tag}/"

# Paddle 3.3 is built for these CUDA versions: (least CUDA version of the driver, tag of the index). Within one major
# version a driver also runs programs built for a somewhat later minor one; CUDA 12.6 wants driver 550 (CUDA 12.4).
_BUILDS = (((13, 0), "cu130"), ((12, 9), "cu129"), ((12, 4), "cu126"), ((11, 0), "cu118"))


@dataclass(frozen=True)
class Gpu:
    """One GPU as ``nvidia-smi`` describes it."""

    name: str
    memory: str
    capability: str


def gpu_index_url(cuda_version: str) -> str:
    """Address of Paddle's package index for a driver's CUDA version, such as "12.6".

    Raises:
        UserError: the text is not a version, or the driver is too old for every build of Paddle 3.3.
    """
    match = re.fullmatch(r"\s*(\d+)(?:\.(\d+))?(?:\.\d+)*\s*", cuda_version)
    if match is None:
        raise UserError(f"CUDA version {cuda_version!r} is not a version; write e.g. 12.6")
    version = (int(match[1]), int(match[2] or 0))
    for least, tag in _BUILDS:
        if version >= least:
            return _INDEX.format(tag=tag)
    raise UserError(
        f"the driver's CUDA version {cuda_version} is older than 11.0, the oldest that Paddle 3.3 runs on: update the "
        "NVIDIA driver, or use the CPU build (PADDLE_WHEEL=cpu)"
    )


def pip_line(cuda_version: str | None) -> str:
    """The command that installs PaddlePaddle: the GPU build for this CUDA version of the driver, or the CPU build for
    None."""
    if cuda_version is None:
        return f'python -m pip install "paddlepaddle{REQUIRED}"'
    return f'python -m pip install "paddlepaddle-gpu{REQUIRED}" -i {gpu_index_url(cuda_version)}'


def install_line() -> str:
    """The command that installs PaddlePaddle for this Python: the CPU build where no GPU build fits the driver.

    The command names this Python by its path where `python` is another one, as in an environment that is not activated.
    """
    try:
        line = pip_line(os.environ.get("PADDLE_CUDA") or driver_cuda_version())
    except UserError:
        line = pip_line(None)
    found = shutil.which("python")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return line
    return shlex.quote(sys.executable) + line.removeprefix("python")


def not_installed() -> str:
    """One line that says that PaddlePaddle is missing, with the command that installs it."""
    return f"PaddlePaddle is not installed; install it with `{install_line()}`"


def require_paddle() -> None:
    """Refuse work that begins without PaddlePaddle but cannot end without it.

    Raises:
        ModuleNotFoundError: PaddlePaddle is not installed; :func:`missing_paddle` makes a line of this error.
    """
    if importlib.util.find_spec("paddle") is None:
        raise ModuleNotFoundError("No module named 'paddle'", name="paddle")


def missing_paddle(error: ModuleNotFoundError) -> str | None:
    """One line about an import that failed because PaddlePaddle, or a part of it, is missing.

    Returns:
        The line, which names the command that installs PaddlePaddle; None if another module is missing.
    """
    name = error.name or ""
    if name == "paddle":
        return not_installed()
    if name.startswith("paddle."):
        return f"the installed PaddlePaddle has no module {name}; install the right one with `{install_line()}`"
    return None


def _nvidia_smi(*arguments: str) -> str:
    """Output of nvidia-smi; empty where it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def driver_cuda_version() -> str | None:
    """The newest CUDA version that the NVIDIA driver supports, as ``nvidia-smi`` prints it; None without a driver."""
    match = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)", _nvidia_smi())
    return match[1] if match else None


def gpus() -> list[Gpu]:
    """The GPUs of this machine, hidden ones included."""
    listing = _nvidia_smi("--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader")
    rows = [[field.strip() for field in line.split(",")] for line in listing.splitlines()]
    return [Gpu(*row) for row in rows if len(row) == 3]
