"""Layers with explicit parameter names and the initialisation of BERT.

Explicit names let several Programs build the same model over one scope. Weights start as a truncated normal
distribution of standard deviation `initializer_range` (cut at two deviations), biases at 0, LayerNorm at weight 1
and bias 0.
"""

from __future__ import annotations

from paddle import ParamAttr, nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from ernie_paddle.models.forms import Value


def _weight(name: str, std: float) -> ParamAttr:
    # Paddle expects the bounds as values instead of multiples of the deviation.
    return ParamAttr(name=name, initializer=init.TruncatedNormal(0.0, std, a=-2 * std, b=2 * std))


def constant(name: str, value: float) -> ParamAttr:
    """A parameter's name and its initial value."""
    return ParamAttr(name=name, initializer=init.Constant(value))


class Linear(nn.Layer):
    """x · weight [in, out] + bias [out]; parameters `{name}.weight` and `{name}.bias`."""

    def __init__(self, name: str, n_in: int, n_out: int, std: float) -> None:
        super().__init__()
        self.weight = self.create_parameter([n_in, n_out], attr=_weight(f"{name}.weight", std))
        self.bias = self.create_parameter([n_out], attr=constant(f"{name}.bias", 0.0))

    def forward(self, x: Value) -> Value:
        """[..., in] -> [..., out]."""
        return F.linear(x, self.weight, self.bias)


class LayerNorm(nn.Layer):
    """Normalisation of the last axis; parameters `{name}.weight` and `{name}.bias`, both [width]."""

    def __init__(self, name: str, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = self.create_parameter([width], attr=constant(f"{name}.weight", 1.0))
        self.bias = self.create_parameter([width], attr=constant(f"{name}.bias", 0.0))
        self._epsilon = epsilon

    def forward(self, x: Value) -> Value:
        """[..., width] -> the same shape."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self._epsilon)


class Embedding(nn.Layer):
    """Rows of a table by id; parameter `{name}.weight` [rows, width]."""

    def __init__(self, name: str, rows: int, width: int, std: float) -> None:
        super().__init__()
        self.weight = self.create_parameter([rows, width], attr=_weight(f"{name}.weight", std))

    def forward(self, ids: Value) -> Value:
        """int [...] -> [..., width]."""
        return F.embedding(ids, self.weight)


def activation(x: Value, name: str) -> Value:
    """Apply gelu (exact, with erf) or relu."""
    assert name in ("gelu", "relu"), name
    return F.gelu(x, approximate=False) if name == "gelu" else F.relu(x)
