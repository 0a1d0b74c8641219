"""Layer-wise decay of the learning rate: layers nearer to the input have smaller rates (fine-tuning of ERNIE-M)."""

from __future__ import annotations

import re

from propeller.graph.optim import ParameterRatio

_EMBEDDINGS = "ernie.embeddings."
_LAYER = re.compile(r"ernie\.encoder\.layers\.(\d+)\.")


def layer_decay(decay: float, n_layers: int) -> ParameterRatio:
    """Factors of the learning rate by the name of a parameter.

    decay^(n_layers - i) in encoder layer i = 0 … n_layers - 1, decay^(n_layers + 1) in the embeddings, and 1 in the
    pooler and the heads. The factor applies to the parameter itself, which is float32 in every precision.

    Args:
        decay: Above 0, at most 1.
        n_layers: Number of layers of the encoder.
    """

    def ratio(name: str, shape: tuple[int, ...]) -> float:
        if name.startswith(_EMBEDDINGS):
            return decay ** (n_layers + 1)
        layer = _LAYER.match(name)
        return decay ** (n_layers - int(layer[1])) if layer else 1.0

    return ratio
