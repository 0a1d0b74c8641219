"""The specification of a benchmarked model as this project's configuration, for the processes that run its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ernie_paddle.models.config import ErnieConfig


def model_config(spec: dict[str, Any]) -> ErnieConfig:
    """The architecture of `bench.step.SPEC`: a BERT without task ids."""
    from ernie_paddle.models.config import ErnieConfig

    return ErnieConfig(
        vocab_size=spec["vocab"],
        hidden_size=spec["hidden"],
        num_hidden_layers=spec["layers"],
        num_attention_heads=spec["heads"],
        intermediate_size=spec["ffn"],
        hidden_dropout_prob=spec["dropout"],
        attention_probs_dropout_prob=spec["dropout"],
        layer_norm_eps=spec["eps"],
    )
