"""Mixed precision: the choice of operators computed in 16 bits, and the dynamic loss scale that float16 needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from propeller.device import runtime
from propeller.errors import UserError
from propeller.values import Value

# Paddle is imported where it is used, since recipes are read and explained without Paddle.
if TYPE_CHECKING:
    from propeller.graph.variables import Variables

ALLOW_FLOAT16_ON_CPU = False
"""True only in tests of the loss scale, which keep every operator in float32 by ``extra_black_list``."""

# Operators that stay in float32 under O2 besides Paddle's own short list: sums over many labels, and the operators in
# losses, need more than the 8 or 11 bits of a 16-bit number. Names are those of Paddle's legacy operators.
_O2_BLACK_LIST = frozenset(
    {
        "softmax_with_cross_entropy",
        "cross_entropy",
        "cross_entropy2",
        "nll_loss",
        "log_softmax",
        "sigmoid_cross_entropy_with_logits",
        "huber_loss",
        "reduce_sum",
        "reduce_mean",
        "mean",
        "square",
        "exp",
        "log",
        "pow",
        "rsqrt",
        "cumsum",
    }
)

DType = Literal["float32", "bfloat16", "float16"]
Level = Literal["O1", "O2"]


@dataclass(frozen=True)
class PrecisionConfig:
    """The number formats of training.

    Parameters, their gradients and the optimizer's state are always float32: under O2 the graph casts a 16-bit working
    copy of each parameter where it is used. So there are no separate master weights that a checkpoint could lose, and
    weight decay and learning-rate ratios apply to the same parameters at every precision.

    On a CPU with AVX-512, bfloat16 with O1 works but is slow: it is for checks, not for training. There a matrix
    product whose input needs no gradient (fed data straight into a linear layer) crashes Paddle 3.3 in the backward
    pass.

    Attributes:
        dtype: "float32" for no mixed precision; "bfloat16"; "float16" (GPU only), which brings loss scaling.
        level: "O1" computes the operators that gain most (matrix products) in 16 bits, "O2" all but the few that
            need float32; O2 needs a GPU.
        init_loss_scaling: factor of the loss at the start (float16 only, like the four that follow).
        incr_every_n_steps: the scale grows after so many finite steps in a row.
        decr_every_n_nan_or_inf: the scale shrinks after so many non-finite steps in a row.
        incr_ratio: factor by which it grows.
        decr_ratio: factor by which it shrinks.
        extra_black_list: names of further operators that stay in float32.
    """

    dtype: DType = "float32"
    level: Level = "O1"
    init_loss_scaling: float = 32768.0
    incr_every_n_steps: int = 1000
    decr_every_n_nan_or_inf: int = 1
    incr_ratio: float = 2.0
    decr_ratio: float = 0.5
    extra_black_list: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in get_args(DType):
            raise UserError(f"precision: dtype {self.dtype!r} is none of {', '.join(get_args(DType))}")
        if self.level not in get_args(Level):
            raise UserError(f"precision: level {self.level!r} is none of {', '.join(get_args(Level))}")
        if self.init_loss_scaling < 1:
            raise UserError(f"precision: init_loss_scaling {self.init_loss_scaling} must be 1 or more")
        if self.incr_every_n_steps < 1 or self.decr_every_n_nan_or_inf < 1:
            raise UserError("precision: incr_every_n_steps and decr_every_n_nan_or_inf must be 1 or more")
        if not (self.incr_ratio > 1 and 0 < self.decr_ratio < 1):
            raise UserError("precision: incr_ratio must be above 1, decr_ratio between 0 and 1")

    @property
    def scales_loss(self) -> bool:
        """Whether the loss is multiplied by a dynamic scale."""
        return self.dtype == "float16"

    def check_device(self) -> None:
        """Refuse a precision in which the present device cannot compute.

        Raises:
            UserError: float16 or O2 without a GPU, or a device too old for the dtype.
        """
        if self.dtype == "float32":
            return
        import paddle

        from propeller.device import static

        if static.on_gpu():
            able = paddle.amp.is_bfloat16_supported if self.dtype == "bfloat16" else paddle.amp.is_float16_supported
            if not able():
                raise UserError(f"precision: this GPU cannot compute in {self.dtype}; choose another dtype")
        elif self.dtype == "float16" and not ALLOW_FLOAT16_ON_CPU:
            raise UserError("precision: float16 needs a GPU, and none is visible; choose float32 or bfloat16")
        elif self.level == "O2":
            raise UserError("precision: level O2 needs a GPU, and none is visible; choose O1, or dtype float32")
        elif self.dtype == "bfloat16" and not runtime.cpu_bfloat16():
            raise UserError(
                "precision: bfloat16 on a CPU needs AVX-512, which this processor does not have; choose float32"
            )

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which a forward graph is built, to be computed in this precision."""
        if self.dtype == "float32":
            return contextlib.nullcontext()
        import paddle

        black = set(self.extra_black_list)
        if self.level == "O2":
            black |= _O2_BLACK_LIST
        # Without promotion O2 casts parameters down; with promotion, one float32 operand would undo the cast.
        context: AbstractContextManager[None] = paddle.amp.auto_cast(
            level=self.level, dtype=self.dtype, custom_black_list=black or None, use_promote=False
        )
        return context


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """A context in which a graph is built in float32, also inside ``PrecisionConfig.autocast``."""
    import paddle

    with paddle.amp.auto_cast(enable=False):
        yield


class LossScale:
    """The dynamic loss scale inside a Program: three variables, and the operators that update them."""

    def __init__(self, config: PrecisionConfig, variables: Variables) -> None:
        self.config = config
        self.scale = variables.declare("@loss_scale", (1,), config.init_loss_scaling)
        self._good = variables.declare("@loss_scale_good_steps", (1,), 0.0)
        self._bad = variables.declare("@loss_scale_bad_steps", (1,), 0.0)

    def update(self, finite: Value) -> None:
        """Append the change of the scale after a step (finite: bool, shape [1]).

        After ``incr_every_n_steps`` finite steps in a row the scale grows, unless it would itself overflow; after
        ``decr_every_n_nan_or_inf`` non-finite steps in a row it shrinks, to 1 at least.
        """
        import paddle

        config = self.config
        zero, one = paddle.zeros([1], "float32"), paddle.ones([1], "float32")
        good = paddle.where(finite, self._good + one, zero)
        bad = paddle.where(finite, zero, self._bad + one)
        grow = good >= float(config.incr_every_n_steps)
        shrink = bad >= float(config.decr_every_n_nan_or_inf)
        grown = self.scale * config.incr_ratio
        grown = paddle.where(paddle.isfinite(grown), grown, self.scale)
        shrunk = paddle.maximum(self.scale * config.decr_ratio, one)
        scale = paddle.where(grow, grown, paddle.where(shrink, shrunk, self.scale))
        paddle.assign(scale, output=self.scale)
        paddle.assign(paddle.where(grow, zero, good), output=self._good)
        paddle.assign(paddle.where(shrink, zero, bad), output=self._bad)
