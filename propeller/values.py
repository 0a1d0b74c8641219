"""The two types that everything passes around: variables of a graph, and arrays by name."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Value = Any
"""A variable of a static graph (``paddle.pir.Value``); Paddle itself is not imported for the name."""

Arrays = dict[str, NDArray[Any]]
"""Arrays by name: what a Program is fed, what it returns, what a file of tensors holds."""
