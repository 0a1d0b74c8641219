"""Export of a task that infers, with its parameters, as a directory for Paddle Inference.

The directory holds ``model.json`` and ``model.pdiparams`` (Paddle's own files), files of the caller, and
``export.json``, which names inputs, outputs and the SHA-256 of every file. The directory is written under another name
and renamed, so that it is complete or does not exist.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from propeller.errors import UserError
from propeller.graph.spec import ProgramSpec
from propeller.run.checkpoint import sha256_file
from propeller.values import Value

EXPORT = "export.json"
MODEL = "model"
FORMAT = "propeller-export"
VERSION = 1


def export_program(
    directory: Path,
    spec: ProgramSpec,
    parameters: Mapping[str, np.ndarray[Any, Any]],
    *,
    metadata: Mapping[str, Any] | None = None,
    documents: Mapping[str, Any] | None = None,
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Write the infer graph of the task `spec`, without dropout, with these parameters; returns the directory.

    `parameters` must hold each parameter of the task's layers; other arrays are ignored. `metadata` goes into
    export.json, `documents` are written as JSON files beside it, and `files` are copied. This function may be called in
    a process that trains, since it uses a scope of its own. An earlier export in the same directory is replaced.

    Raises:
        UserError: a parameter is missing or has another shape; forward does not return outputs by name; the
            directory holds something else, or cannot be written.
    """
    from propeller.device import static  # loads Paddle, which is not needed to read an export

    documents, files = documents or {}, files or {}
    reserved = {EXPORT, f"{MODEL}.json", f"{MODEL}.pdiparams"}
    assert not reserved & {*documents, *files}, f"names kept for the export: {sorted(reserved)}"
    _check_place(directory)
    static.enable()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".tmp-{directory.name}-", dir=directory.parent))
        aside.chmod(0o755)
        try:
            description = _save(aside / MODEL, spec, parameters)
            for name, value in documents.items():
                (aside / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            for name, source in files.items():
                shutil.copyfile(source, aside / name)
            hashes = {path.name: sha256_file(path) for path in sorted(aside.iterdir())}
            whole = {**description, "metadata": dict(metadata or {}), "sha256": hashes}
            (aside / EXPORT).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            _put_in_place(aside, directory)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{directory}: the export could not be written ({error.strerror or error})") from error
    return directory


def _check_place(directory: Path) -> None:
    """Refuse to replace anything but an export or an empty directory."""
    if not directory.exists():
        return
    if directory.is_dir() and not directory.is_symlink():
        if not any(directory.iterdir()):
            return
        try:
            if json.loads((directory / EXPORT).read_text(encoding="utf-8"))["format"] == FORMAT:
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass
    raise UserError(f"{directory} exists and is not an export; give another directory, or remove it first")


def _put_in_place(aside: Path, directory: Path) -> None:
    """Give the finished directory its name; an earlier export is deleted after the new one is in place."""
    old = aside.with_name(aside.name + "-old")
    if directory.exists():
        os.rename(directory, old)
    os.rename(aside, directory)
    if old.exists():
        shutil.rmtree(old)


def _save(prefix: Path, spec: ProgramSpec, parameters: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Build the graph and write Paddle's two files; returns the description for export.json."""
    import paddle

    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    place = paddle.CPUPlace()
    with (
        paddle.static.scope_guard(scope),
        paddle.static.program_guard(program, startup),
        paddle.utils.unique_name.guard(),
    ):
        inputs = {item.name: paddle.static.data(item.name, item.graph_shape, item.dtype) for item in spec.inputs}
        model = spec.model()
        model.eval()
        outputs = spec.forward(model, dict(inputs))
        if not isinstance(outputs, Mapping) or not outputs:
            raise UserError(f"task {spec.name!r} cannot be exported: its forward has to return its outputs by name")
        fetched = _distinct(outputs, inputs)
        for parameter in program.global_block().all_parameters():
            name, shape = parameter.name, tuple(parameter.shape)
            if name not in parameters:
                raise UserError(f"export of task {spec.name!r}: there is no parameter {name!r} among those given")
            array = np.ascontiguousarray(parameters[name], dtype=np.float32).reshape(np.shape(parameters[name]))
            if array.shape != shape:
                raise UserError(f"export of task {spec.name!r}: {name!r} has shape {array.shape}, needed is {shape}")
            scope.var(name).get_tensor().set(array, place)
        # An input that no operator reads would be pruned, and then missed by the predictor.
        used = [item for item in spec.inputs if not inputs[item.name].use_empty()]
        if not used:
            raise UserError(f"task {spec.name!r} cannot be exported: its outputs depend on no input")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            paddle.static.save_inference_model(
                str(prefix),
                [inputs[item.name] for item in used],
                list(fetched.values()),
                paddle.static.Executor(place),
                program=program,
            )
    return {
        "format": FORMAT,
        "version": VERSION,
        "paddle": paddle.__version__,
        "task": spec.name,
        "inputs": [{"name": item.name, "shape": list(item.shape), "dtype": item.dtype} for item in used],
        "unused_inputs": [item.name for item in spec.inputs if item not in used],
        "outputs": list(fetched),
    }


def _distinct(outputs: Mapping[str, Value], inputs: Mapping[str, Value]) -> dict[str, Value]:
    """The outputs, with a copy of each that is an input or the same variable as another: Paddle fetches each once."""
    import paddle

    seen = list(inputs.values())
    distinct: dict[str, Value] = {}
    for name, value in outputs.items():
        if any(value.is_same(other) for other in seen):
            value = paddle.assign(value)
        seen.append(value)
        distinct[name] = value
    return distinct
