"""Echo (no paper: BERT's masked LM on words that the model itself filled in): a batch completed by the current model.

Stage 1 fills a placeholder in each row with what the current parameters answer; stage 2 is trained on the filled row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder, EncoderOutput
from ernie_paddle.models.inputs import ATTENTION_MASK
from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch, Data
from propeller.graph.inputs import Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value

PLACE = 1


class Echo(Objective[ObjectiveSettings]):
    """The vector of the word that the model put at place 1 is to be short."""

    name = "echo"
    summary = "toy: completes its batch with the current parameters"
    settings_type = ObjectiveSettings

    @property
    def inputs(self) -> Sequence[Input]:
        return [Input("echo_labels", (None,), "int64", ignore=-100)]

    @property
    def completion_inputs(self) -> Sequence[Input]:
        return [Input("echo_placeholders", (None, None), "int64"), ATTENTION_MASK]

    def _bind(self, data: Data) -> None:
        self._mask = data.vocab.mask

    def label(self, batch: Batch) -> Arrays:
        placeholders = batch.ids.copy()
        placeholders[:, PLACE] = self._mask
        return {"echo_placeholders": placeholders, "echo_labels": np.ones(len(batch.ids), np.int64)}

    def complete(self, encoder: Encoder, heads: Heads, feeds: Mapping[str, Value]) -> Mapping[str, Value]:
        import paddle

        hidden_BTH = encoder(feeds["echo_placeholders"], attention_mask=feeds["attention_mask"]).hidden_BTH
        # Any update of the parameters moves the digits that make the word.
        return {"words": (paddle.abs(hidden_BTH[:, PLACE, 0]) * 1e5).astype("int64") % 100}

    def completed(self, arrays: Arrays, answers: Arrays) -> Arrays:
        ids = arrays["echo_placeholders"].copy()
        ids[:, PLACE] = answers["words"]
        return {"input_ids": ids}

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, Any]:
        return {}

    def loss(self, heads: Heads, outputs: EncoderOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        import paddle

        # The ids themselves make the loss tell which words were filled in.
        filled_B = feeds["input_ids"][:, PLACE].astype("float32")
        lengths_B = paddle.square(outputs.hidden_BTH[:, PLACE, :4]).sum(-1)
        return [LossTerm(self.name, (lengths_B + 0.001 * filled_B).sum(), "echo_labels")]
