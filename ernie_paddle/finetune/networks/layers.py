"""The networks of the task types: an encoder with a head, with inputs by name."""

from __future__ import annotations

from collections.abc import Mapping

import paddle
from paddle import nn

from ernie_paddle.finetune.networks.pooling import pool
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder, EncoderOutput
from ernie_paddle.models.forms import Value
from ernie_paddle.models.heads import PooledClassifier, TokenClassifier, choice_logits
from ernie_paddle.models.inputs import encoder_feeds
from ernie_paddle.models.layers import Linear


def encode(encoder: Encoder, values: Mapping[str, Value], *, keep_all_hidden: bool = False) -> EncoderOutput:
    """Run an encoder on a Program's inputs; `keep_all_hidden` is passed on to it."""
    output: EncoderOutput = encoder(**encoder_feeds(values), keep_all_hidden=keep_all_hidden)
    return output


class PooledModel(nn.Layer):
    """Encoder and `PooledClassifier` with `n_outputs`; the head has the hidden layers' dropout (BERT's release)."""

    def __init__(self, config: ErnieConfig, n_outputs: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.classifier = PooledClassifier(config, n_outputs, dropout=config.hidden_dropout_prob)

    def forward(self, values: Mapping[str, Value]) -> Value:
        """The inputs by name -> logits [B, K]."""
        return self.classifier(encode(self.encoder, values))


class ChoiceModel(nn.Layer):
    """A score for each of `n_choices` inputs of a row: `PooledModel` with one output (BERT 4.4)."""

    def __init__(self, config: ErnieConfig, n_choices: int) -> None:
        super().__init__()
        self.scorer = PooledModel(config, 1)
        self._n_choices = n_choices

    def forward(self, values: Mapping[str, Value]) -> Value:
        """The inputs [B, n, T] by name -> logits [B, n]."""
        rows = {name: paddle.flatten(value, 0, 1) for name, value in values.items() if len(value.shape) == 3}
        return choice_logits(self.scorer(rows), self._n_choices)


class SpanModel(nn.Layer):
    """Encoder and linear(dropout([C; mean of the vectors of each span])); parameters `classifier.*`, [(1 + S)·H, K]."""

    def __init__(self, config: ErnieConfig, n_spans: int, n_outputs: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self._width = n_spans * config.hidden_size
        self.classifier = Linear("classifier", config.hidden_size + self._width, n_outputs, config.initializer_range)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, values: Mapping[str, Value]) -> Value:
        """The inputs by name, with `span_weights` [B, S, T] -> logits [B, K]."""
        found = encode(self.encoder, values)
        means_BSH = paddle.matmul(values["span_weights"].astype(found.hidden_BTH.dtype), found.hidden_BTH)
        vectors = paddle.concat([found.pooled_BH, means_BSH.reshape([-1, self._width])], axis=-1)
        return self.classifier(self.dropout(vectors))


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
    """Encoder without pooler; `pool` turns the vectors of its last block into one vector for each text."""

    def __init__(self, config: ErnieConfig, pooling: str) -> None:
        super().__init__()
        self.encoder = Encoder(config, add_pooler=False)
        self._pooling = pooling

    def forward(self, values: Mapping[str, Value]) -> Value:
        """The inputs by name -> vectors, float32 [B, H]."""
        return pool(encode(self.encoder, values).hidden_BTH, values["attention_mask"], self._pooling)
