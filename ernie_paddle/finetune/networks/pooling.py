"""One vector for a whole text from the vectors of its positions.

Shape suffixes: B rows, T length, H hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ernie_paddle.models.forms import Value

POOLINGS = ("mean", "cls")
"""mean: mean over all real positions, including [CLS] and [SEP]; cls: vector of [CLS], without the pooler."""


def pool(hidden_BTH: Value, attention_mask_BT: Value, pooling: str) -> Value:
    """The vectors of the texts, float32 [B, H], without padding; for graphs, computed outside of mixed precision."""
    if pooling == "cls":
        return hidden_BTH[:, 0].astype("float32")
    assert pooling == "mean", pooling
    real_BT1 = attention_mask_BT.astype("float32").unsqueeze(-1)
    return (hidden_BTH.astype("float32") * real_BT1).sum(1) / real_BT1.sum(1)


def unit(vectors: Any) -> Any:
    """Scale vectors (of a graph or NumPy) to length 1 along the last axis; their dot product is then the cosine."""
    return vectors / ((vectors * vectors).sum(-1)[..., None] + 1e-12) ** 0.5
