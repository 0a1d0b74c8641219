"""Multi-head self-attention under a mask (Vaswani et al. 2017; BERT section 3).

Shape suffixes: B batch, T queries, S keys (T of them here), N heads, D head size, H = N·D hidden.
"""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn import functional as F

from ernie_paddle.models import forms
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.forms import Value
from ernie_paddle.models.layers import Dropout, Linear

_BLOCKED = -30000.0
"""Added to the score of a key that may not be seen: exp() of it is exactly 0 in every format, float16 holds it, and
a query that may see no key at all still gets a finite (uniform) answer."""


def attention_bias(attention_mask: Value) -> Value:
    """What a 0/1 mask adds to the attention scores.

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
        self.dropout = Dropout(config.attention_probs_dropout_prob)
        self._rate = config.attention_probs_dropout_prob
        self._n_heads, self._head_size = config.num_attention_heads, config.head_size

    def forward(self, x_BTH: Value, bias: Value | None = None, probs: list[Value] | None = None) -> Value:
        """Attend.

        Args:
            x_BTH: input.
            bias: of `attention_bias`; None lets every query see every key.
            probs: the attention probabilities [B, N, T, S] (before dropout) are appended to it.

        Returns:
            [B, T, H].
        """
        if not forms.cpu_forms() and probs is None:
            return self._fused(x_BTH, bias)
        q_BNTD, k_BNSD, v_BNSD = self._project(x_BTH)
        scores_BNTS = paddle.matmul(q_BNTD, k_BNSD, transpose_y=True)
        probs_BNTS = F.softmax(scores_BNTS if bias is None else scores_BNTS + bias)
        if probs is not None:
            probs.append(probs_BNTS)
        context_BNTD = paddle.matmul(self.dropout(probs_BNTS), v_BNSD)
        context_BTH = context_BNTD.transpose([0, 2, 1, 3]).reshape([0, 0, self._n_heads * self._head_size])
        return self.out_proj(context_BTH)

    def _project(self, x_BTH: Value) -> tuple[Value, Value, Value]:
        """Queries (divided by √D), keys and values, [B, N, T, D] each, by one product with the joined weights."""
        scale = self._head_size**-0.5
        layers = (self.q_proj, self.k_proj, self.v_proj)
        weight = paddle.concat([self.q_proj.weight * scale, self.k_proj.weight, self.v_proj.weight], axis=1)
        bias = paddle.concat([self.q_proj.bias * scale, self.k_proj.bias, self.v_proj.bias])
        qkv = forms.linear(x_BTH, weight, bias).reshape([0, 0, len(layers), self._n_heads, self._head_size])
        q_BNTD, k_BNTD, v_BNTD = qkv.transpose([2, 0, 3, 1, 4]).unbind(0)
        return q_BNTD, k_BNTD, v_BNTD

    def _fused(self, x_BTH: Value, bias: Value | None) -> Value:
        """The plain form for a GPU: three projections and Paddle's fused attention."""
        shape = [0, 0, self._n_heads, self._head_size]
        q_BTND, k_BSND, v_BSND = (layer(x_BTH).reshape(shape) for layer in (self.q_proj, self.k_proj, self.v_proj))
        context_BTND = F.scaled_dot_product_attention(
            q_BTND,
            k_BSND,
            v_BSND,
            attn_mask=None if bias is None else bias.astype(q_BTND.dtype),
            dropout_p=self._rate if self.training else 0.0,
            training=self.training,
        )
        return self.out_proj(context_BTND.reshape([0, 0, self._n_heads * self._head_size]))
