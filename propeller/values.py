"""The two types that all modules exchange: variables of a graph, and arrays by name."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Value = Any
"""A variable of a static graph (``paddle.pir.Value``); Paddle itself is not imported for the name."""

Arrays = dict[str, NDArray[Any]]
"""Arrays by name: the inputs or the outputs of a Program, or the content of a file of tensors."""
