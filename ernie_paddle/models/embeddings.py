"""The input of the encoder: the sum of the embeddings of a token (BERT section 3; ERNIE 2.0 section 4.2, figure 3).

Shape suffixes: B batch, T length, H hidden.
"""

from __future__ import annotations

import paddle
from paddle import nn

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.forms import Value
from ernie_paddle.models.layers import Embedding, LayerNorm


class Embeddings(nn.Layer):
    """Word + position (+ segment) (+ task) embeddings, LayerNorm, dropout.

    The segment table is built when `type_vocab_size` > 0, the task table when `use_task_id` is true.
    """

    def __init__(self, config: ErnieConfig, name: str) -> None:
        super().__init__()
        width, std = config.hidden_size, config.initializer_range
        self.word = Embedding(f"{name}.word_embeddings", config.vocab_size, width, std)
        self.position = Embedding(f"{name}.position_embeddings", config.max_position_embeddings, width, std)
        self.segment = (
            Embedding(f"{name}.token_type_embeddings", config.type_vocab_size, width, std)
            if config.type_vocab_size
            else None
        )
        self.task = (
            Embedding(f"{name}.task_type_embeddings", config.task_type_vocab_size, width, std)
            if config.use_task_id
            else None
        )
        self.norm = LayerNorm(f"{name}.layer_norm", width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self._offset = config.position_offset
        self._default_task_id = config.default_task_id

    def forward(
        self,
        input_ids_BT: Value,
        segment_ids_BT: Value | None = None,
        position_ids_BT: Value | None = None,
        task_ids_BT: Value | None = None,
    ) -> Value:
        """Embed the tokens. By default segments are 0, task ids the configuration's, and positions 0..T-1.

        Ids of a table that is not built are ignored.

        Returns:
            [B, T, H], after LayerNorm and dropout.
        """
        if position_ids_BT is None:
            position_ids_BT = paddle.cumsum(paddle.ones_like(input_ids_BT), axis=1) - 1
        if self._offset:
            position_ids_BT = position_ids_BT + self._offset
        x_BTH = self.word(input_ids_BT) + self.position(position_ids_BT)
        for table, ids_BT, default in (
            (self.segment, segment_ids_BT, 0),
            (self.task, task_ids_BT, self._default_task_id),
        ):
            if table is not None:
                x_BTH = x_BTH + table(paddle.full_like(input_ids_BT, default) if ids_BT is None else ids_BT)
        return self.dropout(self.norm(x_BTH))
