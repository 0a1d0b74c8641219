"""Layers on top of the encoder: pre-training heads and fine-tuning heads.

Shape suffixes: B batch, C choices, T length, H hidden, K classes, M gathered positions, V vocabulary.
"""

from __future__ import annotations

import paddle
from paddle import nn

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import EncoderOutput
from ernie_paddle.models.forms import Value
from ernie_paddle.models.layers import Embedding, LayerNorm, Linear, activation, constant


def gather_positions(hidden_BTH: Value, positions_M: Value) -> Value:
    """Gather the vectors at the flat positions b·T + t.

    Args:
        hidden_BTH: [B, T, H].
        positions_M: int64 [M], each in [0, B·T).

    Returns:
        [M, H].
    """
    return paddle.gather(hidden_BTH.reshape([-1, hidden_BTH.shape[-1]]), positions_M)


class MaskedLMHead(nn.Layer):
    """LayerNorm(act(linear(h))) times the word embedding, plus a bias (BERT section 3.1, task 1).

    Parameters `{name}.transform.*`, `{name}.layer_norm.*`, `{name}.decoder_bias`; the matrix is the encoder's own.
    The head only takes gathered positions: the product with the vocabulary is the largest of the model.
    """

    def __init__(self, config: ErnieConfig, word_embedding_VH: Value, name: str = "cls.predictions") -> None:
        super().__init__()
        self.transform = Linear(f"{name}.transform", config.hidden_size, config.hidden_size, config.initializer_range)
        self.layer_norm = LayerNorm(f"{name}.layer_norm", config.hidden_size, config.layer_norm_eps)
        self.decoder_bias = self.create_parameter([config.vocab_size], attr=constant(f"{name}.decoder_bias", 0.0))
        # Kept in a list, so that the shared matrix is not registered as a parameter of this layer a second time.
        self._tied = [word_embedding_VH]
        self._act = config.hidden_act

    def forward(self, hidden_MH: Value) -> Value:
        """[M, H] (see `gather_positions`) -> logits [M, V]."""
        h_MH = self.layer_norm(activation(self.transform(hidden_MH), self._act))
        return paddle.matmul(h_MH, self._tied[0], transpose_y=True) + self.decoder_bias


class SpanBoundaryHead(nn.Layer):
    """Predicts a token of a span from the vectors beside the span and its place in it (SpanBERT, section 3.2).

    h = LayerNorm(act(linear([left; right; place]))), followed by a `MaskedLMHead` on h. Parameters
    `{name}.places.weight` [P, H], `{name}.boundary.*` [3H, H], `{name}.boundary_norm.*`, and those of the
    `MaskedLMHead` called `name`.
    """

    def __init__(self, config: ErnieConfig, n_places: int, word_embedding_VH: Value, name: str) -> None:
        super().__init__()
        width = config.hidden_size
        self.places = Embedding(f"{name}.places", n_places, width, config.initializer_range)
        self.boundary = Linear(f"{name}.boundary", 3 * width, width, config.initializer_range)
        self.boundary_norm = LayerNorm(f"{name}.boundary_norm", width, config.layer_norm_eps)
        self.predict = MaskedLMHead(config, word_embedding_VH, name)
        self._act = config.hidden_act

    def forward(self, left_MH: Value, right_MH: Value, places_M: Value) -> Value:
        """[M, H], [M, H] and int64 [M] in [0, P) -> logits [M, V]."""
        boundary_M3H = paddle.concat([left_MH, right_MH, self.places(places_M)], axis=-1)
        return self.predict(self.boundary_norm(activation(self.boundary(boundary_M3H), self._act)))


class PooledClassifier(nn.Layer):
    """Classes (or one number) for a whole sequence: linear(dropout(pooled)); with rate 0 also the NSP head.

    One output with a squared error is a regression; K outputs with sigmoids are scores of several labels.
    """

    def __init__(self, config: ErnieConfig, n_outputs: int, name: str = "classifier", dropout: float = 0.0) -> None:
        super().__init__()
        self.dense = Linear(name, config.hidden_size, n_outputs, config.initializer_range)
        self.dropout = nn.Dropout(dropout)

    def forward(self, output: EncoderOutput) -> Value:
        """-> logits [B, K]."""
        return self.dense(self.dropout(output.pooled_BH))


class TokenClassifier(nn.Layer):
    """Classes for every token: linear(dropout(hidden)); with K = 2 start and end scores of a span (`span_logits`)."""

    def __init__(self, config: ErnieConfig, n_outputs: int, name: str = "classifier", dropout: float = 0.0) -> None:
        super().__init__()
        self.dense = Linear(name, config.hidden_size, n_outputs, config.initializer_range)
        self.dropout = nn.Dropout(dropout)

    def forward(self, output: EncoderOutput) -> Value:
        """-> logits [B, T, K]."""
        return self.dense(self.dropout(output.hidden_BTH))


def span_logits(logits_BT2: Value) -> tuple[Value, Value]:
    """Start and end scores of an answer span, [B, T] each, from a two-output `TokenClassifier` (BERT section 4.2)."""
    start_BT, end_BT = logits_BT2.unbind(-1)
    return start_BT, end_BT


def choice_logits(logits: Value, n_choices: int) -> Value:
    """Scores [B, C] of C choices, encoded as B·C rows, from a `PooledClassifier` with one output [B·C, 1]."""
    return logits.reshape([-1, n_choices])
