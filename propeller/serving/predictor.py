"""Inference from an exported directory, through Paddle Inference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from propeller.device import runtime
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.run.checkpoint import is_plain, sha256_file
from propeller.serving.export import EXPORT, FORMAT, MODEL, VERSION

Precision = Literal["float32", "bfloat16", "float16"]


class Predictor:
    """Runs an exported program. An instance runs one batch at a time: each thread needs an instance of its own.

    Attributes:
        inputs: the inputs of `run`.
        outputs: names of the outputs of `run`.
        metadata: metadata that the exporter added to the program.
    """

    def __init__(
        self,
        directory: Path | str,
        device: Literal["cpu", "gpu"] | None = None,
        *,
        threads: int | None = None,
        onednn: bool = True,
        precision: Precision = "float32",
        check: bool = True,
    ) -> None:
        """Load the program.

        Args:
            directory: the directory that ``export_program`` wrote.
            device: "cpu" or "gpu" (the one that the launcher gave this process, else the first visible one); None takes
                a GPU where there is one.
            threads: number of threads of one run on the CPU; None for the cores that this process may use.
            onednn: whether to use the faster oneDNN kernels on the CPU.
            precision: "bfloat16" needs oneDNN or a GPU, "float16" a GPU; outputs then differ in the third digit.
            check: whether to compare the files with their SHA-256 first.

        Raises:
            UserError: the directory is not an export, a file is damaged, or the device or the precision is not
                available.
        """
        import paddle
        from paddle import inference

        from propeller.device import static

        self.directory = Path(directory)
        description = read_description(self.directory, check)
        self.inputs = [Input(i["name"], tuple(i["shape"]), i["dtype"]) for i in description["inputs"]]
        self.outputs: list[str] = description["outputs"]
        self.metadata: dict[str, Any] = description["metadata"]
        self._ignored = set(description["unused_inputs"])

        gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
        self.device = device or ("gpu" if gpus else "cpu")
        if self.device not in ("cpu", "gpu"):
            raise UserError(f"predictor: device {device!r} is neither 'cpu' nor 'gpu'")
        if self.device == "gpu" and not gpus:
            raise UserError("predictor: no GPU is visible to this build of Paddle; use device 'cpu'")
        if precision == "float16" and self.device == "cpu":
            raise UserError("predictor: float16 needs a GPU; use 'bfloat16' or 'float32' on a CPU")
        if precision == "bfloat16" and self.device == "cpu" and not onednn:
            raise UserError("predictor: bfloat16 on a CPU needs oneDNN; leave onednn on")
        if precision not in ("float32", "bfloat16", "float16"):
            raise UserError(f"predictor: precision {precision!r} is none of float32, bfloat16, float16")

        prefix = self.directory / MODEL
        config = inference.Config(f"{prefix}.json", f"{prefix}.pdiparams")
        config.disable_glog_info()
        if self.device == "gpu":
            types = inference.PrecisionType
            kind = {"float32": types.Float32, "bfloat16": types.Bfloat16, "float16": types.Half}[precision]
            config.enable_use_gpu(256, static.place().get_device_id(), kind)
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads or runtime.cores())
            if onednn:
                config.enable_onednn()
                # Kernels are cached per shape; without a bound every new length would add to the memory for ever.
                config.set_onednn_cache_capacity(16)
                if precision == "bfloat16":
                    config.enable_onednn_bfloat16()
            else:
                config.disable_onednn()
        config.enable_new_executor()
        config.enable_new_ir()
        config.enable_memory_optim()
        self._predictor = inference.create_predictor(config)
        self._fetch = self._predictor.get_output_names()
        assert len(self._fetch) == len(self.outputs), (self._fetch, self.outputs)

    def run(self, batch: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Outputs by name for one batch of arrays by name; sizes declared as None may differ from call to call.

        Raises:
            UserError: an input is missing, unknown, or has another dtype or shape than declared; or the program cannot
                run on these sizes.
        """
        unknown = sorted(set(batch) - {item.name for item in self.inputs} - self._ignored)
        if unknown:
            known = ", ".join(item.name for item in self.inputs)
            raise UserError(f"{self.directory}: no input is called {unknown[0]!r}; the inputs are {known}")
        arrays = {item.name: item.check(batch, str(self.directory)) for item in self.inputs}
        for name, array in arrays.items():
            self._predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(array))
        try:
            self._predictor.run()
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            said = next((line for line in lines if "Error:" in line), lines[-1] if lines else "no reason given")
            raise UserError(f"{self.directory}: the program cannot run on these sizes ({shapes}): {said}") from error
        values = [self._predictor.get_output_handle(name).copy_to_cpu() for name in self._fetch]
        return dict(zip(self.outputs, values, strict=True))


def read_description(directory: Path, check: bool = True) -> dict[str, Any]:
    """The content of export.json of a directory; with `check` every file is compared with its SHA-256 in it.

    Raises:
        UserError: the directory is not an export, or a file is damaged.
    """
    try:
        description: dict[str, Any] = json.loads((directory / EXPORT).read_text(encoding="utf-8"))
        known = description["format"] == FORMAT
        version = int(description["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{directory}: not an exported model ({EXPORT} is missing or damaged)") from error
    if not known or version > VERSION:
        raise UserError(f"{directory}/{EXPORT}: not an export that this version can read")
    for name, digest in description["sha256"].items() if check else ():
        if not is_plain(name):
            raise UserError(f"{directory}/{EXPORT}: damaged, it names a file outside of the directory ({name!r})")
        path = directory / name
        if not path.is_file():
            raise UserError(f"{path}: missing; export the model again")
        if sha256_file(path) != digest:
            raise UserError(f"{path}: SHA-256 differs from {EXPORT} (altered or damaged); export the model again")
    return description
