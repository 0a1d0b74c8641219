"""Batches that are completed with the current parameters before they are trained on (ERNIE-M, section 3.3).

Completion needs no gradient, so it is an infer Program of its own over the variables of the run; only its predictions
leave the device. It keeps no state between steps, so a resumed run completes its batches to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.objectives.base import AnyObjective
from ernie_paddle.pretraining.model import PretrainingModel
from propeller.graph.inputs import prefixed
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from propeller.values import Arrays, Value


@dataclass(frozen=True)
class _Completion:
    """How one objective completes the rows of one group: name of the Program, and prefix of the group's arrays."""

    objective: AnyObjective
    program: str
    prefix: str


class BatchCompletion:
    """Completes the micro-batches of everything that a Learner trains or evaluates."""

    def __init__(self, learner: Learner, config: ErnieConfig) -> None:
        self._learner, self._config = learner, config
        self._of: dict[str, list[_Completion]] = {}

    def add(self, name: str, groups: Mapping[str, Sequence[AnyObjective]]) -> None:
        """Declare the Programs that complete the rows of a task or joint step.

        Args:
            name: Name of the task, or of the joint step.
            groups: The objectives of each set of rows. The arrays of a set are named "<group>/<input>", or just
                "<input>" where the only group has the name "".
        """
        found = []
        for group, objectives in groups.items():
            for objective in objectives:
                if objective.completion_inputs:
                    program = f"{name}/{group}/{objective.name}/completion"
                    self._learner.add(self._spec(program, objective, objectives))
                    found.append(_Completion(objective, program, prefixed(group, "") if group else ""))
        self._of[name] = found

    def __call__(self, name: str, arrays: Arrays, number: int) -> Arrays:
        """Complete one micro-batch of ``name``; ``number`` is its position in the step or evaluation."""
        for each in self._of[name]:
            size = len(each.prefix)
            own = {key[size:]: array for key, array in arrays.items() if key.startswith(each.prefix)}
            fed = {item.name: own[item.name] for item in each.objective.completion_inputs}
            answers = self._learner.infer(each.program, fed, draw=number)
            completed = each.objective.completed(own, answers)
            arrays = {**arrays, **{each.prefix + key: array for key, array in completed.items()}}
        return arrays

    def _spec(self, name: str, objective: AnyObjective, objectives: Sequence[AnyObjective]) -> ProgramSpec:
        def forward(model: Any, feeds: dict[str, Value]) -> Mapping[str, Value]:
            return objective.complete(model.encoder, model.heads, feeds)

        return ProgramSpec(
            name, objective.completion_inputs, lambda: PretrainingModel(self._config, objectives), forward
        )
