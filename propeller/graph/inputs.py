"""The inputs of a Program: one declaration that serves the graph, the batches and the checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from propeller.errors import UserError

IGNORE = -100
"""The integer label that means "no label here"."""
COUNT_SUFFIX = "@count"
"""Suffix to the name of a label input, for the input with the number of labels (or sum of weights) in the step."""


def prefixed(member: str, name: str) -> str:
    """The name that an input or a loss term of one member has in a group of several members."""
    return f"{member}/{name}"


@dataclass(frozen=True)
class Input:
    """One array of a batch.

    Attributes:
        name: key of the array in a batch, and name of the fed variable of the graph.
        shape: its sizes; None where the size changes from batch to batch.
        dtype: NumPy's name of the element type ("int64", "float32", ...).
        pad: padding value for rows of different lengths when they are stacked.
        ignore: for labels, the value that means "no label here" (may be NaN); None for an input all of whose
            entries count.
        weights: whether the entries are weights of labels, so that a loss is divided by their sum, not by their number.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    pad: float = 0
    ignore: int | float | None = None
    weights: bool = False

    def __post_init__(self) -> None:
        if not self.name or "@" in self.name:
            raise UserError(f"input name {self.name!r}: must not be empty nor contain '@' (kept for propeller's own)")
        try:
            np.dtype(self.dtype)
        except TypeError:
            raise UserError(f"input {self.name!r}: {self.dtype!r} is not a NumPy dtype") from None
        assert not self.weights or self.ignore in (None, 0), f"input {self.name!r}: a weight that counts is ignored"

    @property
    def graph_shape(self) -> list[int]:
        """The shape in Paddle's notation, with -1 for the sizes that change."""
        return [-1 if size is None else size for size in self.shape]

    def count(self, array: np.ndarray) -> float:
        """The divisor of a loss over ``array``: the number of labels, which are its entries other than ``ignore``.

        For ``weights`` the divisor is their sum, to which ``ignore`` (0) adds nothing.
        """
        if self.weights:
            return float(array.sum(dtype=np.float64))
        if self.ignore is None:
            return int(array.size)
        if math.isnan(self.ignore):
            return int(array.size - np.count_nonzero(np.isnan(array)))
        return int(np.count_nonzero(array != self.ignore))

    def check(self, batch: Mapping[str, np.ndarray], where: str) -> np.ndarray:
        """Return the array of this input in ``batch``.

        Raises:
            UserError: the array is missing, or has another dtype or shape than declared; ``where`` begins the message.
        """
        array = batch.get(self.name)
        if array is None:
            raise UserError(f"{where}: input {self.name!r} is missing; the batch has {sorted(batch)}")
        if not isinstance(array, np.ndarray):
            raise UserError(f"{where}: input {self.name!r} is a {type(array).__name__}, it must be a NumPy array")
        if array.dtype != self.dtype:
            raise UserError(f"{where}: input {self.name!r} has dtype {array.dtype}, declared is {self.dtype}")
        if len(array.shape) != len(self.shape) or any(
            want is not None and want != have for want, have in zip(self.shape, array.shape, strict=True)
        ):
            declared = ", ".join("any" if size is None else str(size) for size in self.shape)
            raise UserError(f"{where}: input {self.name!r} has shape {array.shape}, declared is ({declared})")
        return array
