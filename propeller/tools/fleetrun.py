"""``fleetrun``: start one worker process per device, through ``python -m paddle.distributed.launch``.

It adds four features and otherwise passes every argument on unchanged: ranges of devices (``0-7``), a check that the
devices exist, CPU workers where there is no GPU, and an orderly end: it reports a failed worker's exit code and last
lines, and passes SIGTERM and Ctrl-C to the workers, so that they can save before they end.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from propeller.device.runtime import cores, installed_wheels
from propeller.errors import UserError
from propeller.tools.wheels import not_installed

HELP = """\
usage: fleetrun [--gpus LIST] [--nproc_per_node N] [--log_dir DIR] [launch options] SCRIPT [script options]

Starts one worker per device and waits for them.

  --gpus LIST, --devices LIST  devices by number: 0,1,2 or ranges such as 0-7 or 0-3,6 (default: all that are visible)
  --nproc_per_node N           number of workers (default: one per device); without a GPU, N workers on the CPU (gloo)
  --log_dir DIR                where each worker's output goes, as DIR/workerlog.RANK (default: log)
  --nnodes, --master, ...      every other option goes to paddle.distributed.launch unchanged (--log_level INFO shows
                               what it does)

examples:
  fleetrun --gpus 0-7 pretrain.py                  eight GPUs
  fleetrun --nproc_per_node 2 pretrain.py          two CPU workers on a machine without a GPU

exit code: 0 when all workers succeeded, a failed worker's own code otherwise (2: a mistake in options or settings,
named in its last line), 130 after Ctrl-C. SIGTERM is passed to the workers, which save and end.
"""

_FAILED = re.compile(r"Container rank (\d+) status failed .* code (-?\d+) log (\S+)")


def expand_devices(text: str) -> list[str]:
    """Device numbers of a list with ranges: "0-3,6" gives 0, 1, 2, 3, 6.

    Raises UserError for a text that is not such a list, for a range that runs backwards and for a device named twice.
    """
    devices: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        if match is None:
            raise UserError(f"devices {text!r}: {part!r} is not a number or a range such as 0-3; write e.g. 0-3,6")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"devices {text!r}: the range {part.strip()!r} runs backwards; write {last}-{first}")
        devices += [str(number) for number in range(first, last + 1)]
    twice = sorted({device for device in devices if devices.count(device) > 1})
    if twice:
        raise UserError(f"devices {text!r}: device {twice[0]} is named twice")
    return devices


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """Labels of the GPUs that may be used: those of ``CUDA_VISIBLE_DEVICES``, else all that ``nvidia-smi -L`` lists."""
    named = environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None and named != "all":
        return [label.strip() for label in named.split(",") if label.strip() not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        listing = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    count = sum(line.startswith("GPU ") for line in listing.splitlines())
    return [str(number) for number in range(count)]


def _is_option(argument: str, *names: str) -> bool:
    """True if the argument is one of the options, or a prefix that argparse would take for one of them."""
    name = argument.split("=", 1)[0]
    return len(name) >= 4 and any(full.startswith(name) for full in names)


def split_arguments(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(launch options with their values, script with its arguments); every option of the launcher takes a value."""
    options: list[tuple[str, str]] = []
    position = 0
    while position < len(arguments) and arguments[position].startswith("--"):
        name, separator, value = arguments[position].partition("=")
        if not separator:
            position += 1
            if position == len(arguments):
                raise UserError(f"{name} needs a value; see --help")
            value = arguments[position]
        options.append((name, value))
        position += 1
    if position == len(arguments):
        raise UserError("no script to run; see --help")
    return options, list(arguments[position:])


def plan(arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[list[str], dict[str, str], Path]:
    """(arguments for paddle.distributed.launch, environment, log directory) of a call.

    Raises UserError where the call cannot work.
    """
    options, script = split_arguments(arguments)
    environment = dict(environ)
    wheels = installed_wheels()
    if not wheels:
        raise UserError(not_installed())
    gpu_wheel = "paddlepaddle-gpu" in wheels
    visible = visible_gpus(environ) if gpu_wheel else []
    processes, log_dir, asked = None, Path("log"), None
    for index, (name, value) in enumerate(options):
        if _is_option(name, "--gpus", "--devices"):
            asked = expand_devices(value)
            options[index] = ("--devices", ",".join(asked))
            _check_devices(name, asked, visible, gpu_wheel, environ)
        elif _is_option(name, "--nproc_per_node"):
            if not value.isdigit() or int(value) < 1:
                raise UserError(f"{name} {value}: must be a whole number, 1 or more")
            processes = int(value)
        elif _is_option(name, "--log_dir"):
            log_dir = Path(value)
    limit = len(asked) if asked is not None else len(visible)
    if processes is not None and limit and processes > limit:
        raise UserError(f"--nproc_per_node {processes}: only {limit} GPU(s) to use ({','.join(asked or visible)})")
    if not gpu_wheel:
        # The launcher takes this variable as a sign of GPUs, and would then not start gloo.
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if "OMP_NUM_THREADS" not in environ:
            # The launcher imports Paddle, which sets OMP_NUM_THREADS to 1 for itself and so for all workers.
            environment.setdefault("MKL_NUM_THREADS", str(max(1, cores() // (processes or 1))))
    if not Path(script[0]).is_file() and not shutil.which(script[0]):
        raise UserError(f"{script[0]}: there is no such script")
    # Paddle warns about a missing compiler cache in every process; nothing here compiles.
    environment.setdefault("PYTHONWARNINGS", "ignore:No ccache found")
    launch = [part for option in options for part in option]
    if not any(_is_option(name, "--log_level") for name, _ in options) and "PADDLE_LOG_LEVEL" not in environ:
        launch += ["--log_level", "WARNING"]
    # Without the dashes the launcher would look for its own options among the script's.
    return [*launch, "--", *script], environment, log_dir


def _check_devices(
    option: str, asked: list[str], visible: list[str], gpu_wheel: bool, environ: Mapping[str, str]
) -> None:
    """Raise UserError unless the devices asked for can be used."""
    wanted = f"{option} asks for {len(asked)} GPU(s) ({','.join(asked)})"
    if not gpu_wheel:
        raise UserError(
            f"{wanted}, but the installed PaddlePaddle is the CPU build: install paddlepaddle-gpu from Paddle's own "
            "index (`python -m propeller.tools.doctor --wheel` prints the line), or use --nproc_per_node N for CPU "
            "workers"
        )
    missing = [device for device in asked if device not in visible]
    if not missing:
        return
    if not visible:
        raise UserError(f"{wanted}, but no GPU is visible; use --nproc_per_node N for CPU workers")
    how = "CUDA_VISIBLE_DEVICES shows" if "CUDA_VISIBLE_DEVICES" in environ else "this machine has"
    raise UserError(f"{wanted}, but {how} only {len(visible)} ({','.join(visible)})")


def _children(process: int) -> list[int]:
    """The child processes of a process on Linux; no processes on other systems."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{process}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except OSError:
        pass
    return found


def _send(processes: Sequence[int], number: int) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


def _end_with_parent() -> None:
    """In a new child: have the kernel send SIGTERM when the parent dies, however it dies."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class _Relay:
    """Runs the launcher, passes signals to the workers and remembers which worker failed first."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.failed: tuple[int, int, Path] | None = None
        self.interrupted = False
        self._asked_before: set[int] = set()
        # In a session of its own, so that the terminal's Ctrl-C reaches the workers once, from here, and does not reach
        # the launcher, which would kill the workers.
        self.process = subprocess.Popen(
            command,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = self.interrupted or number == signal.SIGINT
        workers = _children(self.process.pid)
        if number in self._asked_before or not workers:
            _send([self.process.pid], signal.SIGTERM)  # the launcher stops its workers, by force if need be
        else:
            _send(workers, number)
        self._asked_before.add(number)

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            match = _FAILED.search(line)
            if match and self.failed is None:
                self.failed = int(match[1]), int(match[2]), Path(match[3])
            # The launcher's own lines about a failed worker are dropped, since `main` reports it more clearly.
            if match is None and not line.rstrip().endswith("Container failed !!!"):
                sys.stderr.write(line)
                sys.stderr.flush()

    def run(self) -> int:
        """Wait for the launcher; returns the exit code of the worker that failed first, else that of the launcher."""
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        assert self.process.stderr is not None
        reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        reader.start()
        try:
            code = self.process.wait()
        finally:
            if self.process.poll() is None:
                self.process.terminate()
            for number, handler in before.items():
                signal.signal(number, handler)
        reader.join(timeout=5)
        if self.interrupted:
            return 130
        if self.failed is not None:
            code = self.failed[1]
        # A process killed by signal n has code -n; a shell knows that as 128 + n.
        return 128 - code if code < 0 else code


def last_lines(path: Path, count: int = 12, since: int = 0) -> list[str]:
    """The last `count` lines of a file that are not empty, from byte `since` on; none if the file cannot be read."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(min(since, size), size - 20_000))
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-count:]


def main(arguments: Sequence[str] | None = None, *, program: str = "fleetrun") -> int:
    """Entry of the console script; returns the exit code.

    Args:
        arguments: arguments of the command line; None for those of this process.
        program: name of the program in its messages.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    try:
        launch, environment, log_dir = plan(arguments, os.environ)
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    sizes = {path: path.stat().st_size for path in log_dir.glob("workerlog.*")}
    started = time.monotonic()
    relay = _Relay([sys.executable, "-m", "paddle.distributed.launch", *launch], environment)
    code = relay.run()
    if code == 130:
        print(f"{program}: interrupted; the workers have ended, their output is in {log_dir}", file=sys.stderr)
    elif relay.failed is not None:
        rank, _, log = relay.failed
        print(
            f"\n{program}: worker {rank} failed with exit code {code}; its output ({log}) ends with:", file=sys.stderr
        )
        for line in last_lines(log, since=sizes.get(log, 0)):
            print(f"  {line}", file=sys.stderr)
    elif code:
        took = time.monotonic() - started
        print(f"{program}: the launcher ended with exit code {code} after {took:.0f} s", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
