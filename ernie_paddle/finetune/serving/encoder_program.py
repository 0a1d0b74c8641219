"""The encoder alone, for export: vectors of every position, and the pooled vector if it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ernie_paddle.finetune.networks.layers import encode
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.inputs import TEXT_INPUTS
from propeller.graph.spec import ProgramSpec


def encoder_task(config: ErnieConfig, with_pooled: bool) -> ProgramSpec:
    """The encoder: inputs as in fine-tuning; outputs `hidden` [B, T, H] and with `with_pooled` `pooled` [B, H]."""

    def outputs(encoder: Encoder, values: Mapping[str, Any]) -> dict[str, Any]:
        found = encode(encoder, values)
        return {"hidden": found.hidden_BTH, **({"pooled": found.pooled_BH} if with_pooled else {})}

    return ProgramSpec("encode", TEXT_INPUTS, lambda: Encoder(config, add_pooler=with_pooled), outputs)
