"""`model_state.pdparams`: a pickled dictionary of arrays, as `paddle.save` writes a state dict."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ernie_paddle.checkpoints.restricted_pickle import read_pickle
from propeller.errors import UserError
from propeller.values import Arrays

_NAMES = "StructuredToParameterName@@"
_SLICED = "UnpackBigParamInfor@@"


def read_pdparams(path: Path) -> Arrays:
    """Read the arrays by name; arrays that Paddle cut into slices (over 1 GiB in the older protocols) are joined.

    Raises:
        UserError: The file holds anything but tensors, or is damaged.
    """
    content = read_pickle(path)
    content.pop(_NAMES, None)
    cut = content.pop(_SLICED, {})
    try:
        for name, facts in cut.items():
            slices = [content.pop(part) for part in facts["slices"]]
            content[name] = np.concatenate(slices).reshape(facts["OriginShape"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: damaged, its sliced tensors do not fit together ({error!r})") from None
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise UserError(f"{path}: a file of weights holds tensors by name only, but {name!r} is none")
    return content


def write_pdparams(path: Path, arrays: Arrays) -> None:
    """Write arrays so that `paddle.load` gives tensors by name."""
    plain: dict[str, Any] = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in sorted(arrays.items())}
    with path.open("wb") as stream:
        pickle.dump(plain, stream, protocol=4)
