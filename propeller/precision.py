"""Mixed precision: what is computed in 16 bits, and the dynamic loss scale that float16 needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from propeller.errors import UserError

DType = Literal["float32", "bfloat16", "float16"]
Level = Literal["O1", "O2"]


@dataclass(frozen=True)
class PrecisionConfig:
    """How numbers are held while training. Parameters are always kept in float32 (master weights).

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
