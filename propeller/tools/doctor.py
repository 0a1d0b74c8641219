"""A report on this machine and this installation, with the changes to make. It also runs before Paddle is installed, so
Paddle is imported late.

``python -m propeller.tools.doctor [--communication] [--gpu_selftest [--device cpu]] [--wheel] [--paddle_index]``
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from propeller.device import runtime
from propeller.errors import UserError
from propeller.tools import wheels
from propeller.tools.wheels import gpu_index_url

__all__ = ["Report", "gpu_index_url", "main", "report"]

GIB = 2**30
_EXTRAS = {
    "visualdl": "curves in VisualDL",
    "jieba": "word segmentation",
    "paddlenlp": "parity checks with PaddleNLP",
    "torch": "comparison of speed with PyTorch",
}


@dataclass
class Report:
    """The findings: rows of (section, name, value), the changes to make, and whether any run can work."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    usable: bool = True

    def add(self, section: str, name: str, value: object) -> None:
        """Add a row."""
        self.rows.append((section, name, str(value)))

    def change(self, text: str, *, fatal: bool = False) -> None:
        """Add a change to make; a fatal one means that no run works before the change is made."""
        self.changes.append(text)
        self.usable = self.usable and not fatal

    def __str__(self) -> str:
        lines: list[str] = []
        width = max((len(name) for _, name, _ in self.rows), default=0)
        for section in dict.fromkeys(where for where, _, _ in self.rows):
            lines += ["", section]
            lines += [f"  {name:<{width}}  {value}" for where, name, value in self.rows if where == section]
        lines += ["", "what to change"]
        lines += [f"  - {text}" for text in self.changes] or ["  nothing"]
        return "\n".join(lines[1:])


def report(*, communication: bool = False, directory: Path | None = None) -> Report:
    """Examine machine and installation; `communication` also trains in two processes that exchange data (some seconds).

    `directory` is the folder to which runs will be written (default: the working directory).
    """
    found = Report()
    _python(found)
    has_gpus = _devices(found)
    importable = _wheel(found, has_gpus)
    _fleetrun(found)
    _settings(found)
    if importable:
        _paddle(found, communication)
    _machine(found, directory or Path.cwd())
    for name, purpose in _EXTRAS.items():
        try:
            found.add("optional packages", name, f"{metadata.version(name)} ({purpose})")
        except metadata.PackageNotFoundError:
            found.add("optional packages", name, f"not installed ({purpose})")
    return found


def _python(found: Report) -> None:
    version = platform.python_version()
    found.add("Python", "version", f"{version} ({sys.executable})")
    found.add("Python", "system", f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}")
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        found.change(f"Python {version} is not tested; use 3.10, 3.11 or 3.12")


def _devices(found: Report) -> bool:
    """Adds rows about GPUs and driver; True if there are GPUs."""
    cuda = wheels.driver_cuda_version()
    cards = wheels.gpus()
    if cuda is None and not cards:
        found.add("devices", "GPU", "none found (nvidia-smi is missing or finds no driver)")
        return False
    for number, card in enumerate(cards):
        found.add("devices", f"GPU {number}", f"{card.name}, {card.memory}, compute capability {card.capability}")
    found.add("devices", "driver's CUDA", cuda or "not known")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        found.add("devices", "CUDA_VISIBLE_DEVICES", hidden or "(empty: all GPUs are hidden)")
    return True


def _wheel(found: Report, has_gpus: bool) -> bool:
    """Adds rows about the installed wheel; True if Paddle can be imported and is new enough."""
    installed = runtime.installed_wheels()
    cuda = wheels.driver_cuda_version() if has_gpus else None
    for name, version in installed.items():
        found.add("PaddlePaddle", "wheel", f"{name} {version}")
    if len(installed) == 2:
        found.change(
            "both wheels of PaddlePaddle are installed and overwrite each other: `pip uninstall paddlepaddle "
            f"paddlepaddle-gpu`, then `{wheels.pip_line(cuda)}`",
            fatal=True,
        )
        return False
    if not installed and importlib.util.find_spec("paddle") is None:
        found.add("PaddlePaddle", "wheel", "not installed")
        found.change(f"PaddlePaddle is not installed: `{wheels.pip_line(cuda)}`", fatal=True)
        return False
    for name, version in installed.items():
        numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
        if tuple(numbers) < (3, 3):
            why = (
                "the default package index has only this old GPU build, whose static graphs have no PIR"
                if name == "paddlepaddle-gpu"
                else "its static graphs have no PIR"
            )
            line = wheels.pip_line((cuda or "12.6") if name == "paddlepaddle-gpu" else None)
            found.change(f"{name} {version} is too old ({why}); install 3.3: `{line}`", fatal=True)
            return False
        if tuple(numbers) >= (3, 4):
            found.change(f"{name} {version} is newer than what was tested (3.3): `{wheels.pip_line(cuda)}`")
    if has_gpus and "paddlepaddle" in installed:
        found.change(
            "there is a GPU, but the CPU build of PaddlePaddle is installed: `pip uninstall paddlepaddle`, then "
            f"`{wheels.pip_line(cuda)}`"
        )
    return True


def _fleetrun(found: Report) -> None:
    """Adds a row about the `fleetrun` that a user would start: Paddle's wheel installs one of the same name."""
    beside = Path(sys.executable).with_name("fleetrun")
    program = shutil.which("fleetrun") or (str(beside) if beside.is_file() else None)
    if program is None:
        found.add("communication", "fleetrun", "not found")
        found.change(
            f"there is no `fleetrun`: `{_install_line()}`, or start `ernie launch` (the same as "
            "`python -m propeller.tools.fleetrun`) instead"
        )
        return
    try:
        ours = b"propeller.tools.fleetrun" in Path(program).read_bytes()
    except OSError:
        ours = False
    found.add("communication", "fleetrun", f"{program}" + ("" if ours else " (not propeller's)"))
    if not ours:
        found.change(
            f"{program} is not propeller's but another program of that name, such as Paddle's, which takes no ranges "
            f"of GPUs (0-7): `{_install_line()}`, or start `ernie launch` (the same as "
            "`python -m propeller.tools.fleetrun`) instead"
        )


def _install_line() -> str:
    """The pip command that installs this project's programs, over others of the same name."""
    root = Path(__file__).resolve().parents[2]
    source = f"-e {shlex.quote(str(root))}" if (root / "pyproject.toml").is_file() else "ernie-paddle"
    return f"{shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps {source}"


def _paddle(found: Report, communication: bool) -> None:
    try:
        import paddle

        from propeller.device import static
    except ImportError as error:  # a system library that the wheel needs
        found.change(f"PaddlePaddle is installed, but cannot be imported: {error}", fatal=True)
        return

    section = "PaddlePaddle"
    built = f"CUDA {paddle.version.cuda()}" if paddle.is_compiled_with_cuda() else "CPU"
    found.add(section, "built for", built)
    try:
        static.enable()
        found.add(section, "PIR", "on")
    except UserError as error:
        found.add(section, "PIR", "off")
        found.change(str(error), fatal=True)
        return
    gpu = static.on_gpu()
    count = paddle.device.cuda.device_count() if gpu else 0
    found.add(section, "runs on", f"{count} GPU(s)" if gpu else "the CPU")
    if paddle.is_compiled_with_cuda() and not gpu:
        found.change("the GPU build of PaddlePaddle sees no GPU: look at the driver and CUDA_VISIBLE_DEVICES")
    for dtype, able in (
        ("float32", True),
        ("bfloat16", bool(paddle.amp.is_bfloat16_supported()) if gpu else runtime.cpu_bfloat16()),
        ("float16", bool(paddle.amp.is_float16_supported()) if gpu else False),
    ):
        if gpu:
            value = "yes (O1 and O2)" if able and dtype != "float32" else "yes" if able else "no"
        else:
            value = {
                "float32": "yes",
                "bfloat16": "O1, slower than float32: to check a recipe, not to train" if able else "needs AVX-512",
                "float16": "needs a GPU",
            }[dtype]
        found.add("precision", dtype, value)
    distributed = bool(paddle.is_compiled_with_distribute())
    found.add("communication", "gloo (CPU workers)", "built in" if distributed else "missing")
    nccl = bool(paddle.base.core.is_compiled_with_nccl()) and gpu
    found.add(
        "communication", "NCCL (GPU workers)", f"version {paddle.version.nccl()}" if nccl else "needs the GPU build"
    )
    if communication:
        from propeller.tools import selftest

        check = selftest.two_processes("gpu" if count > 1 else "cpu")
        found.add("communication", "two processes", check.detail)
        if check.ok is False:
            found.change(f"two processes could not train together: {check.detail}")


def _settings(found: Report) -> None:
    for setting in runtime.report():
        found.add("settings", setting.name, f"{'on' if setting.on else 'off'}  {setting.value or '':<2} {setting.why}")
    threads = os.environ.get("OMP_NUM_THREADS")
    found.add("settings", "OMP_NUM_THREADS", threads or "not set")
    if importlib.util.find_spec("numpy") is not None:
        found.add("settings", "matrix product", f"{_numpy_speed():.0f} GFLOP/s (NumPy, float32, 1024 x 1024)")


def _numpy_speed() -> float:
    """GFLOP/s of NumPy's float32 matrix product, the best of four runs, as a measure of this CPU's present speed."""
    import numpy as np

    a = np.ones((1024, 1024), np.float32)
    best = min(_seconds(lambda: a @ a) for _ in range(4))
    return 2 * 1024**3 / best / 1e9


def _seconds(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _machine(found: Report, directory: Path) -> None:
    limit = _cgroup_cores()
    found.add("machine", "cores", f"{runtime.cores()}" + (f" (limited to {limit:g} by the container)" if limit else ""))
    total, available = memory()
    if total:
        found.add("machine", "memory", f"{available / GIB:.1f} of {total / GIB:.1f} GiB available")
        if available < 2 * GIB:
            found.change(f"only {available / GIB:.1f} GiB of memory are available; a small run wants 2 GiB")
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        found.add("machine", "/dev/shm", f"{free / GIB:.1f} GiB free")
        if free < 0.5 * GIB:
            found.change(
                f"/dev/shm has only {free / GIB:.2f} GiB, which several workers on one machine may exceed: start the "
                "container with a larger one (docker run --shm-size=8g)"
            )
    for name, place in (("disk here", directory), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        found.add("machine", name, f"{free / GIB:.1f} GiB free ({place})")
        if free < 5 * GIB:
            found.change(f"{place} has only {free / GIB:.1f} GiB free; a checkpoint of a base model takes 1.3 GiB")


def _cgroup_cores() -> float | None:
    """CPU limit of the container in cores, where there is one."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def memory() -> tuple[int, int]:
    """(total, available) bytes of memory, no more than the container may use; (0, 0) where it is not known."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, available = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return 0, 0
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        total, available = min(total, limit), min(available, max(0, limit - used))
    except (OSError, ValueError):
        pass
    return total, available


def _cuda_version() -> str:
    """CUDA version to install for: PADDLE_CUDA, else the driver's. Raises UserError if there is neither."""
    version = os.environ.get("PADDLE_CUDA") or wheels.driver_cuda_version()
    if version is None:
        raise UserError(
            "nvidia-smi reports no CUDA version, so the package index cannot be chosen; set PADDLE_CUDA to that of the "
            "driver (e.g. 12.6), or PADDLE_WHEEL=cpu"
        )
    return version


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of ``python -m propeller.tools.doctor``; returns the exit code.

    0: the installation works (there may be advice), 1: no run can work, or a check of the self-test failed, 2: an
    option is wrong, or a self-test of GPUs was asked for where there is no GPU.
    """
    parser = argparse.ArgumentParser(prog="doctor", description="Report on this installation and say what to change.")
    parser.add_argument("--communication", action="store_true", help="also train in two processes together")
    parser.add_argument("--gpu_selftest", action="store_true", help="check AMP, NCCL and speed on every visible GPU")
    parser.add_argument(
        "--device", choices=["gpu", "cpu"], default="gpu", help="device of the self-test: cpu runs what a CPU can"
    )
    parser.add_argument("--wheel", action="store_true", help="print the pip line that fits this machine, and exit")
    parser.add_argument("--paddle_index", action="store_true", help="print the address of the GPU wheel, and exit")
    options = parser.parse_args(arguments)
    try:
        if options.paddle_index:
            print(gpu_index_url(_cuda_version()))
            return 0
        if options.wheel:
            print(wheels.pip_line(os.environ.get("PADDLE_CUDA") or wheels.driver_cuda_version()))
            return 0
        if options.gpu_selftest:
            from propeller.tools import selftest

            return selftest.main(options.device)
        found = report(communication=options.communication)
    except UserError as error:
        print(f"doctor: {error}", file=sys.stderr)
        return 2
    print(found)
    return 0 if found.usable else 1


if __name__ == "__main__":
    sys.exit(main())
