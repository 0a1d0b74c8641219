"""Building the Programs of a task: one graph for each kind of run.

============  ==========================================================================================
kind          what one run does
============  ==========================================================================================
train         forward, backward, sum over ranks, clip, update: a step of a single micro-batch
accumulate    forward, backward; adds gradients and statistics to buffers
apply         as train, with the buffers added in and emptied: the last micro-batch of a step
eval          forward without dropout; statistics
infer         forward without dropout; the outputs by name
============  ==========================================================================================
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import paddle

from propeller.device import distributed, static
from propeller.errors import UserError
from propeller.graph import cpu_graph, optim
from propeller.graph.inputs import COUNT_SUFFIX
from propeller.graph.losses import LossTerm
from propeller.graph.optim import OptimizerConfig, ParameterRules
from propeller.graph.precision import LossScale, PrecisionConfig
from propeller.graph.spec import Layer, ProgramSpec
from propeller.graph.variables import Variables
from propeller.values import Value

Kind = Literal["train", "accumulate", "apply", "eval", "infer"]

LR_INPUT = "@lr"
"""Name of the input for the learning rate, float32 [1], in Programs of the kinds train and apply."""

# What Paddle calls a parameter that was given no name: the layer's kind, a counter, "w" or "b", a counter.
_AUTOMATIC_NAME = re.compile(r"_\d+\.[wb]_\d+$")


@dataclass(frozen=True)
class Terms:
    """The names, label inputs, weights and hits of a task's loss terms, which the Learner needs to average them."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    weights: tuple[float, ...]
    has_hits: tuple[bool, ...]

    @property
    def label_inputs(self) -> tuple[str, ...]:
        """The label inputs that are counted, each once, in a fixed order."""
        return tuple(dict.fromkeys(self.labels))


@dataclass(frozen=True)
class Built:
    """A Program that is ready to run.

    Attributes:
        kind: kind of the Program, see the table at the top of the module.
        program: the graph.
        startup: the start-up Program, which initialises the parameters.
        inputs: the fed variables by name, in order.
        outputs: for "infer" the task's outputs; for the others "statistics", a float32 vector (nothing for
            "accumulate"): the total of each term, the hits of each term that has them, and, for train and apply, the
            gradient norm, whether it was finite, and the loss scale.
        terms: the loss terms; None for "infer".
        parameters: names of the parameters in the Program.
    """

    kind: Kind
    program: paddle.static.Program
    startup: paddle.static.Program
    inputs: dict[str, Value]
    outputs: dict[str, Value]
    terms: Terms | None
    parameters: tuple[str, ...]


def build(
    spec: ProgramSpec,
    kind: Kind,
    optimizer: OptimizerConfig,
    rules: ParameterRules,
    precision: PrecisionConfig,
    variables: Variables,
) -> Built:
    """Build one Program of a task.

    Raises:
        UserError: the task's forward does not return what the kind needs, a parameter has no explicit name, or has
            another shape than in an earlier Program.
    """
    static.enable()  # something else in the process may have left static mode
    program, startup = paddle.static.Program(), paddle.static.Program()
    outputs: dict[str, Value] = {}
    terms: Terms | None = None
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*do not have 'place' interface")  # Paddle about its own code
        inputs = {item.name: paddle.static.data(item.name, item.graph_shape, item.dtype) for item in spec.inputs}
        model = spec.model()
        _set_mode(model, training=kind in ("train", "accumulate", "apply"))
        with precision.autocast():
            result = spec.forward(model, dict(inputs))
        names = _check_parameters(spec, program, variables)
        if kind == "infer":
            outputs = _check_outputs(spec, result)
        else:
            losses = _check_terms(spec, result)
            terms = Terms(
                names=tuple(term.name for term in losses),
                labels=tuple(term.labels for term in losses),
                weights=tuple(float(term.weight) for term in losses),
                has_hits=tuple(term.hits is not None for term in losses),
            )
            statistics = _statistics(losses)
            if kind == "eval":
                outputs["statistics"] = statistics
            else:
                for name in terms.label_inputs:
                    inputs[name + COUNT_SUFFIX] = paddle.static.data(name + COUNT_SUFFIX, [1], "float32")
                if kind != "accumulate":
                    inputs[LR_INPUT] = paddle.static.data(LR_INPUT, [1], "float32")
                _train_graph(kind, losses, inputs, statistics, outputs, optimizer, rules, precision, variables)
                if not static.on_gpu():
                    cpu_graph.speed_up(program)
    return Built(kind, program, startup, inputs, outputs, terms, names)


def discover(spec: ProgramSpec, variables: Variables) -> tuple[paddle.static.Program, tuple[str, ...]]:
    """Build only a task's layers; returns their start-up Program and the names of their parameters.

    Raises:
        UserError: a parameter has no explicit name, or has another shape than in an earlier Program.
    """
    static.enable()  # something else in the process may have left static mode
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        spec.model()
        return startup, _check_parameters(spec, program, variables)


def _set_mode(model: Layer, *, training: bool) -> None:
    if training:
        model.train()
    else:
        model.eval()


def _check_parameters(spec: ProgramSpec, program: paddle.static.Program, variables: Variables) -> tuple[str, ...]:
    names: list[str] = []
    for parameter in program.global_block().all_parameters():
        name, shape = parameter.name, tuple(parameter.shape)
        if _AUTOMATIC_NAME.search(name):
            raise UserError(
                f"task {spec.name!r}: parameter {name!r} of shape {shape} has no name of its own, so that it cannot be "
                "shared between Programs; give it one with paddle.ParamAttr(name=...)"
            )
        if "@" in name:
            raise UserError(f"task {spec.name!r}: parameter name {name!r} contains '@', which is kept for propeller")
        if name in variables and variables.shapes[name] != shape:
            raise UserError(
                f"task {spec.name!r}: parameter {name!r} has shape {shape} here, but {variables.shapes[name]} in an "
                "earlier task; rename one of the two, or give them the same shape"
            )
        names.append(name)
    return tuple(names)


def _check_outputs(spec: ProgramSpec, result: object) -> dict[str, Value]:
    if not isinstance(result, Mapping) or not result:
        raise UserError(f"task {spec.name!r} cannot infer: its forward has to return its outputs by name")
    # NumPy has no bfloat16, so outputs leave the graph in float32.
    half = (paddle.bfloat16, paddle.float16)
    return {name: paddle.cast(value, "float32") if value.dtype in half else value for name, value in result.items()}


def _check_terms(spec: ProgramSpec, result: object) -> list[LossTerm]:
    if (
        not isinstance(result, Sequence)
        or not result
        or not all(isinstance(term, LossTerm) for term in result)
        or len({term.name for term in result}) != len(result)
    ):
        raise UserError(
            f"task {spec.name!r} cannot be trained or evaluated: its forward has to return LossTerms, at least one, "
            "each with a name of its own"
        )
    for term in result:
        spec.input(term.labels)
        for value in (term.total, term.hits):
            assert value is None or tuple(value.shape) in ((), (1,)), f"term {term.name!r} has shape {value.shape}"
    return list(result)


def _scalar(value: Value) -> Value:
    return paddle.cast(value, "float32").reshape([1])


def _statistics(terms: Sequence[LossTerm]) -> Value:
    """Totals, then hits: the part of the fetched vector that adds up over micro-batches and ranks."""
    values = [_scalar(term.total) for term in terms] + [_scalar(term.hits) for term in terms if term.hits is not None]
    statistics = paddle.concat(values)
    statistics.stop_gradient = True
    return statistics


def _train_graph(
    kind: Kind,
    terms: Sequence[LossTerm],
    inputs: Mapping[str, Value],
    statistics: Value,
    outputs: dict[str, Value],
    optimizer: OptimizerConfig,
    rules: ParameterRules,
    precision: PrecisionConfig,
    variables: Variables,
) -> None:
    scale = LossScale(precision, variables) if precision.scales_loss else None
    loss, one = paddle.zeros([1], "float32"), paddle.ones([1], "float32")
    for term in terms:
        count = inputs[term.labels + COUNT_SUFFIX]
        count = paddle.where(count > 0.0, count, one)  # a sum of weights may be below 1
        loss = loss + _scalar(term.total) / count * term.weight
    if scale is not None:
        loss = loss * scale.scale
    pairs = [(p, g) for p, g in paddle.static.append_backward(loss) if g is not None]
    assert pairs, "no parameter has a gradient"
    # By name, so that all ranks and all Programs of a task have the same order.
    pairs.sort(key=lambda pair: str(pair[0].name))
    parameters = [parameter for parameter, _ in pairs]
    gradients = [gradient for _, gradient in pairs]

    sums: list[Value] = []
    if kind in ("accumulate", "apply"):
        buffers = [variables.declare(f"{p.name}@gradient", tuple(p.shape), 0.0) for p in parameters]
        buffers.append(variables.declare(f"@statistics{statistics.shape[0]}", tuple(statistics.shape), 0.0))
        # In place: the buffers then hold the sums, and no second copy of all gradients is made.
        sums = [
            paddle._C_ops.add_(buffer, value) for buffer, value in zip(buffers, [*gradients, statistics], strict=True)
        ]
        if kind == "accumulate":
            return
        *gradients, statistics = sums

    *gradients, statistics = distributed.sum_in_graph([*gradients, statistics])
    norm = optim.global_norm(gradients)
    factor: Value | None = None
    if scale is not None:
        factor = 1.0 / scale.scale
        norm = norm * factor
    # The norm decides, not the loss: a CPU softmax turns NaN into a uniform distribution, and the loss looks healthy.
    finite = paddle.isfinite(norm)
    if optimizer.clip_norm is not None:
        clip = optimizer.clip_norm / paddle.maximum(norm, paddle.full([1], optimizer.clip_norm, "float32"))
        factor = clip if factor is None else factor * clip
    if factor is not None:
        gradients = [_times(gradient, factor) for gradient in gradients]
    optim.update(optimizer, rules, variables, parameters, gradients, inputs[LR_INPUT], paddle.logical_not(finite))
    used_scale = one if scale is None else paddle.assign(scale.scale)
    outputs["statistics"] = paddle.concat([statistics, norm, paddle.cast(finite, "float32"), used_scale])
    if scale is not None:
        scale.update(finite)
    for value in sums:
        # Through the sum and not through the buffer, though both are the same memory: the executor orders operators by
        # the Values that they name, and would empty the buffer before its sum was read.
        paddle._C_ops.full_(value, list(value.shape), 0.0, paddle.float32, variables.place)


def _times(array: Value, factor: Value) -> Value:
    """``array`` times a single number (shape [1])."""
    if static.on_gpu():
        return array * factor
    # On a CPU the broadcast of a product costs several times what this operator does.
    return paddle._C_ops.scale(array, factor, 0.0, True)
