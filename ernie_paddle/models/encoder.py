"""The encoder of BERT, ERNIE 1.0, ERNIE 2.0 and ERNIE-M (BERT section 3, ERNIE 2.0 section 4.2).

Shape suffixes: B batch, T length, H hidden, F feed-forward width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import paddle
from paddle import nn

from ernie_paddle.models.attention import SelfAttention, attention_bias
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.embeddings import Embeddings
from ernie_paddle.models.forms import Value
from ernie_paddle.models.layers import LayerNorm, Linear, activation


class Block(nn.Layer):
    """One post-norm block: x = norm1(x + attention(x)); x = norm2(x + linear2(act(linear1(x))))."""

    def __init__(self, config: ErnieConfig, name: str) -> None:
        super().__init__()
        width, std = config.hidden_size, config.initializer_range
        self.self_attn = SelfAttention(config, f"{name}.self_attn")
        self.linear1 = Linear(f"{name}.linear1", width, config.intermediate_size, std)
        self.linear2 = Linear(f"{name}.linear2", config.intermediate_size, width, std)
        self.norm1 = LayerNorm(f"{name}.norm1", width, config.layer_norm_eps)
        self.norm2 = LayerNorm(f"{name}.norm2", width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self._act = config.hidden_act

    def forward(self, x_BTH: Value, bias: Value | None = None, probs: list[Value] | None = None) -> Value:
        """[B, T, H] -> [B, T, H]; `bias` and `probs` as in `SelfAttention`."""
        return self._after_attention(x_BTH, self.self_attn(x_BTH, bias, probs))

    def keys_values(self, x_BSH: Value) -> tuple[Value, Value]:
        """Keys and values [B, S, N, D] to which the positions of `attend` may attend."""
        return self.self_attn.keys_values(x_BSH)

    def attend(
        self,
        x_BTH: Value,
        keys_BSND: Value,
        values_BSND: Value,
        bias: Value | None = None,
        probs: list[Value] | None = None,
    ) -> Value:
        """Apply the block to positions that attend to other positions than themselves: [B, T, H] -> [B, T, H].

        Args:
            x_BTH: Input of the block at these positions.
            keys_BSND: Keys from `keys_values`.
            values_BSND: Values from `keys_values`.
            bias: As in `SelfAttention.attend`.
            probs: As in `SelfAttention.attend`.
        """
        attention = self.self_attn
        found_BTH = attention.attend(attention.queries(x_BTH), keys_BSND, values_BSND, bias, probs)
        return self._after_attention(x_BTH, found_BTH)

    def _after_attention(self, x_BTH: Value, found_BTH: Value) -> Value:
        x_BTH = self.norm1(x_BTH + self.dropout(found_BTH))
        inner_BTF = activation(self.linear1(x_BTH), self._act)
        return self.norm2(x_BTH + self.dropout(self.linear2(inner_BTF)))


class Pooler(nn.Layer):
    """tanh(linear(the first token's vector)): the representation of the whole sequence."""

    def __init__(self, config: ErnieConfig, name: str) -> None:
        super().__init__()
        self.dense = Linear(f"{name}.dense", config.hidden_size, config.hidden_size, config.initializer_range)

    def forward(self, hidden_BTH: Value) -> Value:
        """[B, T, H] -> [B, H]."""
        return paddle.tanh(self.dense(hidden_BTH[:, 0]))


@dataclass
class EncoderOutput:
    """The output of the encoder.

    Attributes:
        hidden_BTH: Vectors of the last block.
        all_hidden: Output of the embeddings and of every block, if requested.
        attention_probs: [B, heads, T, T] of every block, before dropout, if requested.
    """

    hidden_BTH: Value  # noqa: N815
    all_hidden: list[Value] = field(default_factory=list)
    attention_probs: list[Value] = field(default_factory=list)
    _pool: Callable[[Value], Value] | None = None
    _pooled: Value | None = None

    @property
    def pooled_BH(self) -> Value:  # noqa: N802
        """Output [B, H] of the pooler; built at the first use, so that other graphs do not contain the pooler."""
        assert self._pool is not None, "this encoder was built with add_pooler=False"
        if self._pooled is None:
            self._pooled = self._pool(self.hidden_BTH)
        return self._pooled


class Encoder(nn.Layer):
    """Embeddings, blocks, and a pooler.

    Args:
        config: The architecture.
        name: Prefix of all parameter names.
        add_pooler: Whether the pooler's parameters exist.
    """

    def __init__(self, config: ErnieConfig, name: str = "ernie", add_pooler: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config, f"{name}.embeddings")
        self.layers = nn.LayerList(
            [Block(config, f"{name}.encoder.layers.{i}") for i in range(config.num_hidden_layers)]
        )
        self.pooler = Pooler(config, f"{name}.pooler") if add_pooler else None

    def forward(
        self,
        input_ids: Value,
        segment_ids: Value | None = None,
        position_ids: Value | None = None,
        task_ids: Value | None = None,
        attention_mask: Value | None = None,
        *,
        keep_all_hidden: bool = False,
        keep_attention: bool = False,
    ) -> EncoderOutput:
        """Encode a batch.

        Args:
            input_ids: int64 [B, T].
            segment_ids: int64 [B, T]; 0 by default; ignored if the model has no segment embedding.
            position_ids: int64 [B, T]; 0..T-1 by default. `position_offset` is added to given and default ids.
            task_ids: int64 [B, T]; `config.default_task_id` by default; ignored without a task embedding.
            attention_mask: [B, T] (1 = a real token) or [B, T, T] (1 = this query may see this key). By default it is
                all 1, so that padding is seen, if there is any.
            keep_all_hidden: Whether to fill `all_hidden`.
            keep_attention: Whether to fill `attention_probs` (uses the unfused attention on a GPU).
        """
        bias = None if attention_mask is None else attention_bias(attention_mask)
        x_BTH = self.embeddings(input_ids, segment_ids, position_ids, task_ids)
        all_hidden = [x_BTH]
        probs: list[Value] | None = [] if keep_attention else None
        for block in self.layers:
            x_BTH = block(x_BTH, bias, probs)
            all_hidden.append(x_BTH)
        return EncoderOutput(x_BTH, all_hidden if keep_all_hidden else [], probs or [], self.pooler)
