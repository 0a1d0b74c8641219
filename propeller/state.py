"""Conversion of the state of a run to arrays and a JSON-able document, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from propeller.errors import UserError
from propeller.graph.precision import PrecisionConfig
from propeller.graph.variables import Variables

FORMAT = 1
COUNTERS = ("step", "skipped", "skipped_in_a_row")


def export_state(
    variables: Variables, seed: int, precision: PrecisionConfig, counters: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Copies of all variables except the buffers, which are empty between steps, and a document about the run."""
    names = variables.names(parameters=True) + variables.names(parameters=False)
    tensors = {name: variables.get(name) for name in names if not variables.is_buffer(name)}
    return tensors, {
        "format": FORMAT,
        "seed": seed,
        "precision": {"dtype": precision.dtype, "level": precision.level},
        **counters,
    }


def import_state(
    variables: Variables,
    parameters: Sequence[str],
    seed: int,
    precision: PrecisionConfig,
    tensors: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
) -> dict[str, int]:
    """Set all variables from a state; variables of the optimizer that the state lacks get their initial values.

    Returns:
        The counters.

    Raises:
        UserError: the state does not fit this run; nothing is changed in this case.
    """
    if meta.get("format") != FORMAT:
        raise UserError(f"saved state has format {meta.get('format')!r}, this version reads {FORMAT}")
    if meta.get("seed") != seed:
        raise UserError(
            f"saved state is of a run with seed {meta.get('seed')!r}, this run has {seed}; use the same seed"
        )
    own = {"dtype": precision.dtype, "level": precision.level}
    if meta.get("precision") != own:
        raise UserError(f"saved state is of a run in precision {meta.get('precision')}, this run has {own}")
    counters = {}
    for name in COUNTERS:
        value = meta.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UserError(f"saved state: counter {name!r} is {value!r}, it must be a whole number, 0 or more")
        counters[name] = value
    _check_tensors(variables, parameters, tensors)
    for name, array in tensors.items():
        variables.set(name, array)
    variables.reset(
        name for name in variables.names(parameters=False) if name not in tensors and variables.has_initial(name)
    )
    return counters


def _check_tensors(variables: Variables, parameters: Sequence[str], tensors: Mapping[str, np.ndarray]) -> None:
    saved = {name for name in tensors if "@" not in name}
    missing, unexpected = sorted(set(parameters) - saved), sorted(saved - set(parameters))
    if missing or unexpected:
        raise UserError(
            "saved state has other parameters than this run's tasks: "
            f"{len(missing)} missing {missing[:3]}, {len(unexpected)} unknown {unexpected[:3]}; "
            "add the same tasks as the run that saved it"
        )
    for name, array in tensors.items():
        owner = name.split("@")[0]
        shape = variables.shapes.get(name)
        if shape is None and owner and name.endswith(("@moment1", "@moment2")):
            shape = variables.shapes.get(owner)
        if owner and owner not in saved:
            raise UserError(f"saved state: {name!r} belongs to no parameter")
        if shape is not None and array.shape != shape:
            raise UserError(f"saved state: {name!r} has shape {array.shape}, this run's has {shape}")
