"""One vector for a whole text from the vectors of its positions.

Shape suffixes: B rows, T length, H hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ernie_paddle.models.forms import Value

POOLINGS = ("mean", "cls")
"""mean: over all real positions, [CLS] and [SEP] included; cls: the vector of [CLS], without the pooler's layer."""


def pool(hidden_BTH: Value, attention_mask_BT: Value, pooling: str) -> Value:
    """The vectors of the texts: float32 [B, H]; padding takes no part. In a graph, whose mixed precision it leaves."""
    if pooling == "cls":
        return hidden_BTH[:, 0].astype("float32")
    assert pooling == "mean", pooling
    real_BT1 = attention_mask_BT.astype("float32").unsqueeze(-1)
    return (hidden_BTH.astype("float32") * real_BT1).sum(1) / real_BT1.sum(1)


def unit(vectors: Any) -> Any:
    """Vectors of length 1 along the last axis (of a graph or of NumPy): a dot product of two is their cosine."""
    return vectors / ((vectors * vectors).sum(-1)[..., None] + 1e-12) ** 0.5
