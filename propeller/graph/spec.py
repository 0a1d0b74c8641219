"""The specification of a family of Programs: their inputs, their layers and how the graph is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.values import Value

Layer = Any
"""A ``paddle.nn.Layer``."""

Forward = Callable[[Layer, dict[str, Value]], Sequence[LossTerm] | Mapping[str, Value]]


@dataclass(frozen=True)
class ProgramSpec:
    """The specification of Programs that train, evaluate or infer; messages call it a task.

    The specifications of one Learner share every parameter that has the same name, so all parameters need explicit
    names (``ParamAttr(name=...)``).

    Attributes:
        name: unique name within a Learner.
        inputs: the arrays of a batch, all of which the Program is fed.
        model: function that makes the layers. It is called once for each Program, inside that Program's guard.
        forward: function that builds the graph from the layers and the fed variables (by input name). To train or
            evaluate, it returns LossTerms; to infer, the outputs by name.
    """

    name: str
    inputs: Sequence[Input]
    model: Callable[[], Layer]
    forward: Forward

    def __post_init__(self) -> None:
        if not self.name:
            raise UserError("a task needs a name")
        names = [item.name for item in self.inputs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"task {self.name!r}: input {twice[0]!r} is declared twice")

    def input(self, name: str) -> Input:
        """The input called ``name``.

        Raises:
            UserError: the task has no such input.
        """
        for item in self.inputs:
            if item.name == name:
                return item
        raise UserError(f"task {self.name!r} has no input {name!r}; it has {[item.name for item in self.inputs]}")
