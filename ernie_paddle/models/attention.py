"""Multi-head self-attention under a mask (Vaswani et al. 2017; BERT section 3).

Shape suffixes: B batch, T queries, S keys (T of them here), N heads, D head size, H = N·D hidden.
"""

from __future__ import annotations

from paddle import nn

from ernie_paddle.models import forms
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.forms import Value
from ernie_paddle.models.layers import Linear

_BLOCKED = -30000.0
"""Added to the score of a key that may not be seen: its exp() is exactly 0 in every format, float16 can represent it,
and a query that may see no key at all still gets a finite (uniform) result."""


def attention_bias(attention_mask: Value) -> Value:
    """The bias that a 0/1 mask adds to the attention scores.

    Args:
        attention_mask: [B, S] (keys that every query may see) or [B, T, S] (per query), 1 = may be seen.

    Returns:
        float32, [B, 1, 1, S] or [B, 1, T, S].
    """
    assert attention_mask.ndim in (2, 3), attention_mask.shape
    bias = (1.0 - attention_mask.astype("float32")) * _BLOCKED
    bias = bias.unsqueeze([1, 2] if attention_mask.ndim == 2 else 1)
    bias.stop_gradient = True
    return bias


class SelfAttention(nn.Layer):
    """softmax(q·kᵀ / √D + bias) · v for each head, then the output projection."""

    def __init__(self, config: ErnieConfig, name: str) -> None:
        super().__init__()
        width, std = config.hidden_size, config.initializer_range
        self.q_proj = Linear(f"{name}.q_proj", width, width, std)
        self.k_proj = Linear(f"{name}.k_proj", width, width, std)
        self.v_proj = Linear(f"{name}.v_proj", width, width, std)
        self.out_proj = Linear(f"{name}.out_proj", width, width, std)
        self._rate = config.attention_probs_dropout_prob
        self._n_heads, self._head_size = config.num_attention_heads, config.head_size

    def queries(self, x_BTH: Value) -> Value:
        """[B, T, H] -> [B, T, N, D]."""
        return self._heads(self.q_proj(x_BTH))

    def keys_values(self, x_BSH: Value) -> tuple[Value, Value]:
        """Keys and values [B, S, N, D] of the positions to attend to; made once for any number of queries."""
        return self._heads(self.k_proj(x_BSH)), self._heads(self.v_proj(x_BSH))

    def attend(
        self,
        q_BTND: Value,
        keys_BSND: Value,
        values_BSND: Value,
        bias: Value | None = None,
        probs: list[Value] | None = None,
    ) -> Value:
        """Attend from the queries to the keys, then apply the output projection.

        Args:
            q_BTND: Queries from `queries`.
            keys_BSND: Keys from `keys_values`.
            values_BSND: Values from `keys_values`.
            bias: Bias from `attention_bias`; None lets every query see every key.
            probs: List to which the attention probabilities [B, N, T, S] (before dropout) are appended.

        Returns:
            [B, T, H].
        """
        context_BTND = forms.attention(q_BTND, keys_BSND, values_BSND, bias, self._rate, self.training, probs)
        return self.out_proj(context_BTND.reshape([0, 0, self._n_heads * self._head_size]))

    def forward(self, x_BTH: Value, bias: Value | None = None, probs: list[Value] | None = None) -> Value:
        """Every position attends to all positions of its row; `bias` and `probs` as in `attend`.

        Returns:
            [B, T, H].
        """
        return self.attend(self.queries(x_BTH), *self.keys_values(x_BTH), bias, probs)

    def _heads(self, x_BTH: Value) -> Value:
        return x_BTH.reshape([0, 0, self._n_heads, self._head_size])
