"""The self-test that a user with GPUs runs once: ``ernie doctor --gpu_selftest``.

It trains a small model of its own: on every visible GPU in float32 and in each mixed precision, with a loss scale that
has to find its size, and then with one process per GPU, whose losses must equal those of one process. On a CPU
(``--device cpu``) it runs the checks that a CPU can compute, which shows that the checks themselves work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from propeller.errors import UserError
from propeller.tools import fleetrun

if TYPE_CHECKING:
    from propeller.graph.precision import PrecisionConfig
    from propeller.graph.spec import ProgramSpec
    from propeller.learner import Learner

Device = Literal["gpu", "cpu"]

STEPS = 20
SYMBOLS, HIDDEN, CLASSES, LENGTH, ROWS = 64, 64, 8, 8, 32
LR = 3e-3

# Largest difference of a loss, relative to the first one, that is due to rounding alone.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.02}


@dataclass(frozen=True)
class Check:
    """One check: its place, its name, whether it passed (None: not possible here, or a figure), and details."""

    where: str
    name: str
    ok: bool | None
    detail: str

    def __str__(self) -> str:
        word = {True: "ok", False: "FAILED", None: "-"}[self.ok]
        return f"{self.where:<8} {self.name:<34} {word:<8} {self.detail}"


def batch(number: int) -> dict[str, np.ndarray[Any, Any]]:
    """Global batch of one step: rows of symbols; the class is that of the largest symbol."""
    x = np.random.default_rng([11, number]).integers(0, SYMBOLS, (ROWS, LENGTH))
    return {"x": x, "y": x.max(1) * CLASSES // SYMBOLS, "factor": np.ones(1, np.float32)}


def toy_task() -> ProgramSpec:
    """An embedding, two blocks of dense layers with LayerNorm, a classifier; "factor" can make the loss overflow."""
    import paddle

    from propeller.graph.inputs import Input
    from propeller.graph.losses import LossTerm
    from propeller.graph.spec import ProgramSpec

    functional = paddle.nn.functional

    def attr(name: str, std: float) -> Any:
        return paddle.ParamAttr(name=name, initializer=paddle.nn.initializer.Normal(std=std))

    def linear(name: str, rows: int, columns: int) -> Any:
        return paddle.nn.Linear(
            rows, columns, weight_attr=attr(f"{name}.weight", rows**-0.5), bias_attr=attr(f"{name}.bias", 0.01)
        )

    class Toy(paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = paddle.nn.Embedding(SYMBOLS, HIDDEN, weight_attr=attr("table.weight", 1.0))
            self.up = paddle.nn.LayerList([linear(f"up{n}", HIDDEN, 4 * HIDDEN) for n in range(2)])
            self.down = paddle.nn.LayerList([linear(f"down{n}", 4 * HIDDEN, HIDDEN) for n in range(2)])
            self.norm = paddle.nn.LayerList(
                [
                    paddle.nn.LayerNorm(
                        HIDDEN,
                        weight_attr=paddle.ParamAttr(name=f"norm{n}.weight"),
                        bias_attr=paddle.ParamAttr(name=f"norm{n}.bias"),
                    )
                    for n in range(2)
                ]
            )
            self.head = linear("head", HIDDEN, CLASSES)

        def forward(self, x_BT: Any) -> Any:
            h_BTH = self.table(x_BT)
            for up, down, norm in zip(self.up, self.down, self.norm, strict=True):
                h_BTH = norm(h_BTH + down(functional.gelu(up(h_BTH))))
            return self.head(h_BTH.max(1))

    def forward(model: Any, inputs: dict[str, Any]) -> list[LossTerm]:
        logits_BC = paddle.cast(model(inputs["x"]), "float32")
        total = functional.cross_entropy(logits_BC, inputs["y"], reduction="sum") * inputs["factor"].sum()
        return [LossTerm("class", total, "y")]

    inputs = (Input("x", (None, LENGTH), "int64"), Input("y", (None,), "int64"), Input("factor", (1,), "float32"))
    return ProgramSpec("toy", inputs, Toy, forward)


def learner_for(precision: PrecisionConfig | None = None) -> Learner:
    """A Learner with the toy task."""
    from propeller.graph.optim import OptimizerConfig
    from propeller.learner import Learner

    learner = Learner(OptimizerConfig(), precision, seed=1)
    learner.add(toy_task())
    return learner


def train(learner: Learner, steps: int = STEPS) -> list[float]:
    """The losses of `steps` training steps on this rank's rows of the global batches."""
    from propeller.device import distributed

    rank, world = distributed.rank(), distributed.world_size()
    losses = []
    for step in range(steps):
        rows = batch(step)
        mine = {"x": rows["x"][rank::world], "y": rows["y"][rank::world], "factor": rows["factor"]}
        losses.append(learner.train_step("toy", [mine], LR).loss)
    return losses


def difference(losses: list[float], reference: list[float]) -> float:
    """Largest difference of two curves, relative to the reference's start; infinite if a loss is not finite."""
    found = float(np.max(np.abs(np.subtract(losses, reference)))) / reference[0]
    return found if np.isfinite(found) else float("inf")


# -------------------------------------------------------------------------------------------- checks within one process


def check_float32(where: str) -> tuple[Check, list[float]]:
    """The reference in float32, whose loss must fall."""
    losses = train(learner_for())
    detail = f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in {STEPS} steps"
    return Check(where, "float32 trains", bool(losses[-1] < 0.8 * losses[0]), detail), losses


def check_precision(where: str, dtype: Any, level: Any, reference: list[float]) -> Check:
    """A mixed precision, whose losses must follow those of float32, with parameters kept in float32."""
    from propeller.graph.precision import PrecisionConfig

    name = f"{dtype} {level} follows float32"
    learner = learner_for(PrecisionConfig(dtype=dtype, level=level))
    found = difference(train(learner), reference)
    kept = all(array.dtype == np.float32 for array in learner.parameters().values())
    ok = found <= TOLERANCE[dtype] and kept
    return Check(where, name, ok, f"largest difference {found:.2%} of the first loss (at most {TOLERANCE[dtype]:.0%})")


def check_small_updates(where: str, dtype: Any, level: Any) -> Check:
    """Master weights: updates far below the spacing of 16-bit numbers must accumulate, as in float32."""
    from propeller.graph.precision import PrecisionConfig

    moved = []
    for precision in (None, PrecisionConfig(dtype=dtype, level=level)):
        learner = learner_for(precision)
        before = learner.parameters()["table.weight"]
        for step in range(5):
            learner.train_step("toy", [batch(step)], 1e-6)
        moved.append(np.abs(learner.parameters()["table.weight"] - before).mean())
    ratio = float(moved[1] / moved[0])
    return Check(
        where, f"{dtype} {level} keeps small updates", 0.8 < ratio < 1.25, f"{ratio:.2f} of the movement in float32"
    )


def check_loss_scale(where: str, make: Callable[[float], PrecisionConfig]) -> Check:
    """Overflows: the step must be skipped without a change of parameters, and the scale must halve, then grow again."""
    learner = learner_for(make(2.0**15))
    learner.train_step("toy", [batch(0)], LR)
    spiked = {**batch(1), "factor": np.array([1e37], np.float32)}
    before = learner.parameters()
    result = learner.train_step("toy", [spiked], LR)
    after = learner.parameters()
    untouched = all(np.array_equal(before[name], after[name]) for name in before)
    scales = [learner.train_step("toy", [batch(step)], LR).loss_scale for step in range(2, 7)]
    expected = [2.0**14, 2.0**14, 2.0**15, 2.0**15, 2.0**16]
    ok = not result.finite and untouched and scales == expected
    detail = f"overflow {'skipped' if untouched and not result.finite else 'NOT skipped'}, scales {scales}"
    return Check(where, "loss scale skips and recovers", ok, detail)


def check_speed(where: str, dtypes: list[str], size: int, steps: int) -> list[Check]:
    """Figures that never fail: the speed of matrix products by dtype, and training steps per second of the toy."""
    import paddle

    from propeller.device import static

    checks = []
    for dtype in dtypes:
        program = paddle.static.Program()
        with paddle.static.program_guard(program, paddle.static.Program()), paddle.utils.unique_name.guard():
            a = paddle.cast(paddle.static.data("a", [size, size], "float32"), dtype)
            value = a
            for _ in range(10):
                value = paddle.matmul(value, a)
            output = paddle.cast(value, "float32").max()
        executor = paddle.static.Executor(static.place())
        feed = {"a": np.full((size, size), 1 / size, np.float32)}
        seconds = []
        for _ in range(4):
            began = time.perf_counter()
            executor.run(program, feed=feed, fetch_list=[output])
            seconds.append(time.perf_counter() - began)
        rate = 10 * 2 * size**3 / min(seconds) / 1e12
        checks.append(
            Check(where, f"{dtype} matrix products", None, f"{rate:.2f} TFLOP/s (size {size}, with the copy)")
        )
    learner = learner_for()
    learner.train_step("toy", [batch(0)], LR)
    began = time.perf_counter()
    for step in range(steps):
        learner.train_step("toy", [batch(step)], LR)
    rate = steps / (time.perf_counter() - began)
    return [*checks, Check(where, "steps of the toy", None, f"{rate:.0f} per second")]


def check_device(where: str, device: Device) -> list[Check]:
    """All checks of the one device that this process sees."""
    from propeller.device import static
    from propeller.graph import precision
    from propeller.graph.precision import PrecisionConfig

    static.enable()
    if static.on_gpu() != (device == "gpu"):
        return [Check(where, "device", False, f"PaddlePaddle runs on the {'GPU' if static.on_gpu() else 'CPU'} here")]
    first, reference = check_float32(where)
    checks = [first]
    modes = [("bfloat16", "O1"), ("float16", "O1"), ("bfloat16", "O2"), ("float16", "O2")]
    for dtype, level in modes:
        try:
            PrecisionConfig(dtype=dtype, level=level).check_device()  # type: ignore[arg-type]
        except UserError as error:
            checks.append(Check(where, f"{dtype} {level} follows float32", None, str(error)))
            continue
        checks.append(check_precision(where, dtype, level, reference))
        checks.append(check_small_updates(where, dtype, level))
    if device == "gpu":
        checks.append(check_loss_scale(where, lambda s: PrecisionConfig("float16", "O1", s, incr_every_n_steps=2)))
        return checks + check_speed(where, ["float32", "bfloat16", "float16"], 8192, 50)
    # A CPU has no float16 kernels, so the loss scale is tested with every product kept in float32.
    products = ("matmul", "matmul_v2", "linear_v2", "mul", "fused_gemm_epilogue")
    precision.ALLOW_FLOAT16_ON_CPU = True
    try:
        checks.append(
            check_loss_scale(
                where,
                lambda s: PrecisionConfig("float16", "O1", s, incr_every_n_steps=2, extra_black_list=products),
            )
        )
    finally:
        precision.ALLOW_FLOAT16_ON_CPU = False
    return checks + check_speed(where, ["float32"], 512, 10)


# ------------------------------------------------------------------------------------------------------ many processes


def worker(result: str) -> None:
    """The work of each process of the distributed check; rank 0 writes losses and figures to `result`."""
    from propeller.device import distributed

    learner = learner_for()
    losses = train(learner)
    digests = distributed.all_gather_bytes(learner.digest())
    vector = np.full(2_000_000, float(distributed.rank() + 1))
    distributed.sum_over_ranks(vector)
    began = time.perf_counter()
    total = distributed.sum_over_ranks(vector)
    seconds = time.perf_counter() - began
    if distributed.rank() == 0:
        world = distributed.world_size()
        document = {
            "losses": losses,
            "world": world,
            "equal": len(set(digests)) == 1,
            "sum": bool(np.all(total == world * (world + 1) / 2)),
            "gigabytes_per_second": vector.nbytes / seconds / 1e9,
        }
        Path(result).write_text(json.dumps(document), encoding="utf-8")
    distributed.barrier()


def one_process(result: str, where: str, device: Device, mode: str) -> None:
    """The work of a subprocess: the checks of its device, or only the reference losses of the distributed check."""
    from propeller.device import static

    static.enable()
    found: Any = train(learner_for()) if mode == "losses" else [asdict(check) for check in check_device(where, device)]
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Environment of a subprocess that imports this package, and is not a worker of a surrounding job."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PADDLE_TRAINER")}
    package = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH", "")]))
    environment.setdefault("PYTHONWARNINGS", "ignore:No ccache found")
    return environment | dict(changes)


def _subprocess(where: str, device: Device, mode: str, changes: Mapping[str, str]) -> Any:
    """Result of ``one_process`` in a process of its own (a crash there is one failed check), or its last line."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        arguments = f"{str(result)!r}, {where!r}, {device!r}, {mode!r}"
        code = f"from propeller.tools import selftest; selftest.one_process({arguments})"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=_environment(changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if result.is_file():
            return json.loads(result.read_text(encoding="utf-8"))
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return f"exit code {done.returncode}: {lines[-1] if lines else 'no output'}"


def two_processes(device: Device, processes: int = 2) -> Check:
    """Train the toy in several processes, started by fleetrun, and compare the losses with those of one process."""
    where, name = device, f"{processes} processes equal one"
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    reference = _subprocess(where, device, "losses", hidden)
    if isinstance(reference, str):
        return Check(where, name, False, f"one process alone failed: {reference}")
    with tempfile.TemporaryDirectory() as folder:
        script, result = Path(folder) / "worker.py", Path(folder) / "result.json"
        script.write_text(
            f"import propeller\nfrom propeller.tools import selftest\nselftest.worker({str(result)!r})\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "propeller.tools.fleetrun", "--nproc_per_node", str(processes)]
        done = subprocess.run(
            [*command, "--log_dir", str(Path(folder) / "log"), str(script)],
            env=_environment(hidden),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode or not result.is_file():
            lines = [line for rank in range(processes) for line in _log(folder, rank)]
            return Check(
                where, name, False, f"exit code {done.returncode}: {' | '.join(lines[-3:]) or done.stderr[-300:]}"
            )
        found = json.loads(result.read_text(encoding="utf-8"))
    far = difference(found["losses"], reference)
    ok = far <= TOLERANCE["float32"] and found["equal"] and found["sum"] and found["world"] == processes
    return Check(
        where,
        name,
        bool(ok),
        f"losses differ by {far:.1e} of the first, parameters {'equal' if found['equal'] else 'DIFFER'} on all ranks, "
        f"sums {'right' if found['sum'] else 'WRONG'}, {found['gigabytes_per_second']:.2f} GB/s with the host's copy",
    )


def _log(folder: str, rank: int) -> list[str]:
    return fleetrun.last_lines(Path(folder) / "log" / f"workerlog.{rank}", 3)


def run(device: Device) -> list[Check]:
    """All checks, each device in a process of its own."""
    if device == "cpu":
        places = [("cpu", {"CUDA_VISIBLE_DEVICES": ""})]
    else:
        places = [(f"gpu {label}", {"CUDA_VISIBLE_DEVICES": label}) for label in fleetrun.visible_gpus(os.environ)]
    checks: list[Check] = []
    for where, changes in places:
        found = _subprocess(where, device, "checks", changes)
        news = [Check(where, "process", False, found)] if isinstance(found, str) else [Check(**c) for c in found]
        for check in news:
            print(check, flush=True)
        checks += news
    if device == "gpu" and len(places) == 1:
        check = Check("gpu", "NCCL", None, "needs two GPUs")
    else:
        check = two_processes(device, max(2, len(places)))
    print(check, flush=True)
    return [*checks, check]


def main(device: Device) -> int:
    """Run the self-test and report; exit code 0: all checks passed, 1: a check failed, 2: there is no GPU."""
    if device == "gpu":
        from propeller.device.runtime import gpu_visible

        if not gpu_visible() or not fleetrun.visible_gpus(os.environ):
            print(
                "doctor: the self-test needs an NVIDIA GPU and the GPU build of PaddlePaddle, and finds none; `doctor` "
                "alone says what is missing, and `--device cpu` runs the part that a CPU can",
                file=sys.stderr,
            )
            return 2
    checks = run(device)
    failed = [check for check in checks if check.ok is False]
    passed = sum(check.ok is True for check in checks)
    print(f"\n{passed} passed, {len(failed)} failed, {len(checks) - passed - len(failed)} figures or not possible here")
    return 1 if failed else 0
