"""Runs models on golden inputs, as static Programs and eagerly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from safetensors.numpy import load_file

from ernie_paddle.checkpoints.hf_names import config_from_hf, from_hf
from ernie_paddle.models.config import ErnieConfig

Build = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes layers and maps input values by name to output values by name."""


class Golden:
    """One folder of the model goldens: configuration, weights under our names, inputs and outputs."""

    def __init__(self, folder: Path) -> None:
        self.values = json.loads((folder / "config.json").read_text())
        self.config: ErnieConfig = config_from_hf(self.values)
        self.parameters = from_hf(load_file(folder / "model.safetensors"))
        self._inputs = load_file(folder / "inputs.safetensors")
        self._outputs = load_file(folder / "outputs.safetensors")

    def inputs(self, case: str) -> dict[str, np.ndarray]:
        return {key[2:]: value for key, value in self._inputs.items() if key.startswith(f"{case}.")}

    def outputs(self, case: str) -> dict[str, np.ndarray]:
        return {key[2:]: value for key, value in self._outputs.items() if key.startswith(f"{case}.")}

    def cases(self) -> list[str]:
        return sorted({key[0] for key in self._inputs})


def run_static(build: Build, inputs: dict[str, np.ndarray], parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Build a Program with dynamic shapes, put the parameters into its scope by name, run it once."""
    paddle.enable_static()
    try:
        main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
        with (
            paddle.utils.unique_name.guard(),
            paddle.static.program_guard(main, startup),
            paddle.static.scope_guard(scope),
        ):
            fed = {k: paddle.static.data(k, [None] * v.ndim, str(v.dtype)) for k, v in inputs.items()}
            outputs = build(fed)
            executor = paddle.static.Executor(paddle.CPUPlace())
            executor.run(startup)
            names = [p.name for p in main.global_block().all_parameters()]
            assert set(names) <= set(parameters), sorted(set(names) - set(parameters))
            for name in names:
                tensor = scope.find_var(name).get_tensor()
                assert list(tensor.shape()) == list(parameters[name].shape), name
                tensor.set(parameters[name], paddle.CPUPlace())
            results = executor.run(main, feed=inputs, fetch_list=list(outputs.values()))
            return dict(zip(outputs, results, strict=True))
    finally:
        paddle.disable_static()


def run_eager(
    layer: Any, call: Build, inputs: dict[str, np.ndarray], parameters: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Put the parameters into a layer by name and call it without a graph."""
    for parameter in layer.parameters():
        parameter.set_value(parameters[parameter.name])
    layer.eval()
    outputs = call({k: paddle.to_tensor(v) for k, v in inputs.items()})
    return {k: v.numpy() for k, v in outputs.items()}


def largest_difference(a: np.ndarray, b: np.ndarray, rows: np.ndarray | None = None) -> float:
    """Maximum absolute difference, over the entries where the 0/1 array `rows` (leading axes) is 1."""
    assert a.shape == b.shape, (a.shape, b.shape)
    if rows is not None:
        a, b = a[rows == 1], b[rows == 1]
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
