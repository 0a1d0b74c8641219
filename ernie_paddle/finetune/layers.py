"""The networks of the task types: an encoder with a head, fed by input name."""

from __future__ import annotations

from collections.abc import Mapping

from paddle import nn

from ernie_paddle.finetune.pooling import pool
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder, EncoderOutput
from ernie_paddle.models.forms import Value
from ernie_paddle.models.heads import PooledClassifier, TokenClassifier


def encode(encoder: Encoder, values: Mapping[str, Value]) -> EncoderOutput:
    """Run an encoder on a Program's inputs."""
    output: EncoderOutput = encoder(
        values["input_ids"],
        values["segment_ids"],
        task_ids=values.get("task_ids"),
        attention_mask=values["attention_mask"],
    )
    return output


class PooledModel(nn.Layer):
    """Encoder and `PooledClassifier` with `n_outputs`; the head's dropout is the hidden layers' (BERT's release)."""

    def __init__(self, config: ErnieConfig, n_outputs: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.classifier = PooledClassifier(config, n_outputs, dropout=config.hidden_dropout_prob)

    def forward(self, values: Mapping[str, Value]) -> Value:
        """The inputs by name -> logits [B, K]."""
        return self.classifier(encode(self.encoder, values))


class PositionModel(nn.Layer):
    """Encoder without pooler, and `TokenClassifier` with `n_outputs`; dropout as in `PooledModel`."""

    def __init__(self, config: ErnieConfig, n_outputs: int) -> None:
        super().__init__()
        self.encoder = Encoder(config, add_pooler=False)
        self.classifier = TokenClassifier(config, n_outputs, dropout=config.hidden_dropout_prob)

    def forward(self, values: Mapping[str, Value]) -> Value:
        """The inputs by name -> logits [B, T, K]."""
        return self.classifier(encode(self.encoder, values))


class SentenceModel(nn.Layer):
    """Encoder without pooler; the vectors of its last block become one vector for a text, as `pool` does."""

    def __init__(self, config: ErnieConfig, pooling: str) -> None:
        super().__init__()
        self.encoder = Encoder(config, add_pooler=False)
        self._pooling = pooling

    def forward(self, values: Mapping[str, Value]) -> Value:
        """The inputs by name -> vectors, float32 [B, H]."""
        return pool(encode(self.encoder, values).hidden_BTH, values["attention_mask"], self._pooling)
