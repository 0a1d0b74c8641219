"""Layers with explicit parameter names and the initialisation of BERT.

Explicit names let several Programs build the same model over one scope. Weights start as a truncated normal
distribution of standard deviation `initializer_range` (cut at two deviations), biases at 0, LayerNorm at weight 1
and bias 0.
"""

from __future__ import annotations

from paddle import ParamAttr, nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from ernie_paddle.models import forms
from ernie_paddle.models.forms import Value


def _weight(name: str, std: float) -> ParamAttr:
    # Paddle takes the bounds as values, not as multiples of the deviation.
    return ParamAttr(name=name, initializer=init.TruncatedNormal(0.0, std, a=-2 * std, b=2 * std))


def _constant(name: str, value: float) -> ParamAttr:
    return ParamAttr(name=name, initializer=init.Constant(value))


class Linear(nn.Layer):
    """x · weight [in, out] + bias [out]; parameters `{name}.weight` and `{name}.bias`."""

    def __init__(self, name: str, n_in: int, n_out: int, std: float) -> None:
        super().__init__()
        self.weight = self.create_parameter([n_in, n_out], attr=_weight(f"{name}.weight", std))
        self.bias = self.create_parameter([n_out], attr=_constant(f"{name}.bias", 0.0))

    def forward(self, x: Value, factor: float = 1.0) -> Value:
        """[..., in] -> [..., out], times `factor`, which is folded into the parameters: they are smaller than x."""
        if factor == 1.0:
            return forms.linear(x, self.weight, self.bias, self.training)
        return forms.linear(x, self.weight * factor, self.bias * factor, self.training)


class LayerNorm(nn.Layer):
    """Normalisation of the last axis; parameters `{name}.weight` and `{name}.bias`, both [width]."""

    def __init__(self, name: str, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = self.create_parameter([width], attr=_constant(f"{name}.weight", 1.0))
        self.bias = self.create_parameter([width], attr=_constant(f"{name}.bias", 0.0))
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


class Dropout(nn.Layer):
    """Dropout that scales up while training and does nothing in eval mode."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate

    def forward(self, x: Value) -> Value:
        """Any shape -> the same shape."""
        return forms.dropout(x, self._rate, self.training)
