"""The model of a pre-training task: one encoder, and the heads of the objectives that the task trains together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from paddle import nn

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.objectives.base import AnyObjective
from ernie_paddle.pretraining.batches.step_reader import arranger, task_inputs
from propeller.errors import UserError
from propeller.graph.inputs import prefixed
from propeller.graph.losses import LossTerm
from propeller.graph.spec import ProgramSpec
from propeller.values import Value


class PretrainingModel(nn.Layer):
    """The encoder (with a pooler if an objective uses it) and the objectives' heads by name.

    Parameters have the same names in every task, so that the tasks of a run share the encoder and heads of the same
    name.
    """

    def __init__(self, config: ErnieConfig, objectives: Sequence[AnyObjective]) -> None:
        super().__init__()
        self.encoder = Encoder(config, add_pooler=any(objective.pooled for objective in objectives))
        heads: dict[str, nn.Layer] = {}
        for objective in objectives:
            assert objective.bound, f"{objective.name} has no heads before with_data()"
            for name, head in objective.heads(config, self.encoder).items():
                heads.setdefault(name, head)
        self.heads = nn.LayerDict(heads)


def _terms(
    model: PretrainingModel, objectives: Sequence[AnyObjective], where: str, feeds: Mapping[str, Value]
) -> list[LossTerm]:
    """The losses of the objectives over one encoding of their rows."""
    outputs = arranger(objectives, where).encode(model.encoder, feeds)
    return [term for objective in objectives for term in objective.loss(model.heads, outputs, feeds)]


def build_task(name: str, objectives: Sequence[AnyObjective], config: ErnieConfig, *, max_length: int) -> ProgramSpec:
    """The training Program of a task: the sum of the objectives' losses over one encoding of a shared batch.

    ("Continual Multi-task Learning" in ERNIE 2.0: a sentence-level loss together with token-level ones.)

    Args:
        name: Name of the task.
        objectives: The task's objectives; at most one of them arranges the input.
        config: The architecture.
        max_length: Tokens of the longest row that will be fed.

    Raises:
        UserError: The objectives cannot share a task, or the architecture is too small for them.
    """
    objectives = list(objectives)
    _check(name, objectives, config, max_length)

    def forward(model: Any, feeds: dict[str, Value]) -> list[LossTerm]:
        return _terms(model, objectives, f"task {name!r}", feeds)

    return ProgramSpec(
        name, task_inputs(objectives, config.use_task_id), lambda: PretrainingModel(config, objectives), forward
    )


def build_joint(
    name: str, groups: Mapping[str, Sequence[AnyObjective]], config: ErnieConfig, *, max_length: int
) -> ProgramSpec:
    """The training Program of several sets of rows: the encoder runs once on each set, and all losses are summed.

    Inputs and loss terms are named "<group>/<name>"; see :mod:`ernie_paddle.pretraining.batches.joint_steps`.

    Args:
        name: Name of the sum of tasks.
        groups: The objectives of each set of rows.
        config: The architecture.
        max_length: Tokens of the longest row that will be fed.

    Raises:
        UserError: As for :func:`build_task`.
    """
    inputs = {group: task_inputs(objectives, config.use_task_id) for group, objectives in groups.items()}
    for group, objectives in groups.items():
        _check(group, objectives, config, max_length)
    everything = [objective for objectives in groups.values() for objective in objectives]

    def forward(model: Any, feeds: dict[str, Value]) -> list[LossTerm]:
        terms = []
        for group, objectives in groups.items():
            own = {item.name: feeds[prefixed(group, item.name)] for item in inputs[group]}
            for term in _terms(model, objectives, f"task {group!r}", own):
                terms.append(replace(term, name=prefixed(group, term.name), labels=prefixed(group, term.labels)))
        return terms

    flat = [replace(item, name=prefixed(group, item.name)) for group, items in inputs.items() for item in items]
    return ProgramSpec(name, flat, lambda: PretrainingModel(config, everything), forward)


def _check(name: str, objectives: Sequence[AnyObjective], config: ErnieConfig, max_length: int) -> None:
    """Refuse objectives that cannot share rows, and rows that are too large for the architecture."""
    parts = arranger(objectives, f"task {name!r}").max_parts
    if config.type_vocab_size and parts > config.type_vocab_size:
        raise UserError(
            f"task {name!r} makes rows of up to {parts} parts with a segment id each, but the model has only "
            f"type_vocab_size: {config.type_vocab_size}; set it to {parts} or more"
        )
    if max_length > config.max_length:
        raise UserError(
            f"rows of up to {max_length} tokens do not fit into the model's {config.max_length} positions; "
            "lower max_length or raise max_position_embeddings"
        )
