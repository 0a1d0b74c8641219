"""The optimizer: its configuration and its part of a training Program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from propeller.errors import UserError
from propeller.values import Value

# Paddle is imported where it is used, since recipes are read and explained without Paddle.
if TYPE_CHECKING:
    from propeller.graph.variables import Variables

ParameterPredicate = Callable[[str, tuple[int, ...]], bool]
ParameterRatio = Callable[[str, tuple[int, ...]], float]
Name = Literal["adamw", "adam"]


def decays_matrices(name: str, shape: tuple[int, ...]) -> bool:
    """Default of ``ParameterRules.decays``: everything but vectors and scalars (biases, normalisation weights)."""
    return len(shape) > 1


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019) and clipping by the global norm.

    One update of a parameter p with gradient g, t counting the updates of this very parameter from 1::

        g := g * clip_norm / max(norm, clip_norm)
        p := p - lr * ratio * weight_decay * p           (decayed parameters only)
        m := b1 m + (1 - b1) g;  v := b2 v + (1 - b2) g g
        p := p - lr * ratio * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)

    Attributes:
        name: "adamw", or "adam" for the same without any weight decay (``weight_decay`` must be 0).
        betas: decay rates of the two moments.
        epsilon: added to the root of the second moment.
        weight_decay: strength of the decay; it is multiplied by the learning rate.
        clip_norm: largest global norm of the gradient; None for no clipping.

    Which parameters are decayed, and their ratios, are :class:`ParameterRules`.
    """

    name: Name = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise UserError(f"optimizer: name {self.name!r} is none of {', '.join(get_args(Name))}")
        if not all(0 <= beta < 1 for beta in self.betas) or len(self.betas) != 2:
            raise UserError(f"optimizer: betas {self.betas} must be two numbers, at least 0 and below 1")
        if self.epsilon <= 0:
            raise UserError(f"optimizer: epsilon {self.epsilon} must be above 0")
        if self.weight_decay < 0:
            raise UserError(f"optimizer: weight_decay {self.weight_decay} must be 0 or more")
        if self.name == "adam" and self.weight_decay != 0:
            raise UserError("optimizer: 'adam' has no weight decay; set weight_decay to 0 or name to 'adamw'")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise UserError(f"optimizer: clip_norm {self.clip_norm} must be above 0, or none for no clipping")


@dataclass(frozen=True)
class ParameterRules:
    """The differences between parameters in their update.

    Attributes:
        decays: (name, shape) -> whether a parameter is decayed.
        lr_ratio: (name, shape) -> factor of the learning rate of a parameter, e.g. for layer-wise decay; None for 1.
    """

    decays: ParameterPredicate = decays_matrices
    lr_ratio: ParameterRatio | None = None


def global_norm(gradients: Sequence[Value]) -> Value:
    """Root of the sum of squares of all entries; shape [1], float32."""
    import paddle

    squares = [paddle._C_ops.squared_l2_norm(gradient).reshape([1]) for gradient in gradients]
    return paddle.sqrt(paddle.concat(squares).sum().reshape([1]))


def update(
    config: OptimizerConfig,
    rules: ParameterRules,
    variables: Variables,
    parameters: Sequence[Value],
    gradients: Sequence[Value],
    lr: Value,
    skip: Value,
) -> None:
    """Append the update of every parameter to the Program being built (see OptimizerConfig for the formula).

    Args:
        config: the optimizer.
        rules: differences between parameters.
        variables: hold the moments and the powers of the betas.
        parameters: the parameters to update.
        gradients: one for each parameter, float32, already clipped.
        lr: learning rate, shape [1].
        skip: bool scalar; where it is true, parameters, moments and powers of the betas stay as they are.
    """
    import paddle

    from propeller.device import static

    if static.on_gpu():
        # The operator reads the flag on the host: one copy here instead of one for each parameter.
        skip = paddle._C_ops.memcpy_d2h(skip, 0)
    beta1, beta2 = config.betas
    # The operator's own ratio argument is not used: on a CPU (Paddle 3.3) it reaches the decay but not the step.
    rates = {1.0: lr}
    for parameter, gradient in zip(parameters, gradients, strict=True):
        name, shape = parameter.name, tuple(parameter.shape)
        decay = config.weight_decay if rules.decays(name, shape) else 0.0
        ratio = 1.0 if rules.lr_ratio is None else float(rules.lr_ratio(name, shape))
        if ratio not in rates:
            rates[ratio] = lr * ratio
        paddle._C_ops.adamw_(
            parameter,
            gradient,
            rates[ratio],
            variables.declare(f"{name}@moment1", shape, 0.0),
            variables.declare(f"{name}@moment2", shape, 0.0),
            None,  # largest second moment (AMSGrad)
            variables.declare(f"{name}@beta1_power", (1,), beta1),
            variables.declare(f"{name}@beta2_power", (1,), beta2),
            None,  # master weight: the parameter itself is in float32
            skip,
            beta1,
            beta2,
            config.epsilon,
            1.0,  # ratio of the learning rate
            decay,
            decay != 0.0,
            False,  # lazy mode
            1000,
            False,  # multi-precision
            False,  # global powers of the betas
            False,  # AMSGrad
        )
