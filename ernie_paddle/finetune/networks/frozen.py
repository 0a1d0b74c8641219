"""Labelling with a frozen encoder: its hidden layers are the input of a task-specific network (BERT 5.3).

Shape suffixes: B rows, T length, H hidden of the encoder, F features, D the LSTM's width, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import paddle
from paddle import ParamAttr, nn
from paddle.nn import initializer as init

from ernie_paddle.finetune.networks.feature_sets import FEATURES
from ernie_paddle.finetune.networks.layers import encode
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.forms import Value
from ernie_paddle.models.layers import Linear, constant
from propeller.graph import precision

_LAYERS = 2


class FrozenModel(nn.Layer):
    """An encoder without gradients or dropout, a choice of its hidden layers, a `BiLSTM`, and linear(dropout(…)).

    The LSTM is as wide as the encoder in each direction (768 in BERT base, as in the paper). A weighted sum is
    scale · sum of softmax(weights)_j · layer_j, with learnt weights and scale (as in ELMo, Peters et al. 2018, eq. 1;
    the paper does not define it). Parameters `features.*`, `lstm.*`, `classifier.*`.
    """

    def __init__(self, config: ErnieConfig, features: str, n_outputs: int) -> None:
        super().__init__()
        width = config.hidden_size
        self._chosen = FEATURES[features]
        self._layers = self._chosen.layers(config.num_hidden_layers)
        self.encoder = Encoder(config, add_pooler=False)
        if self._chosen.use == "weighted":
            self.weights = self.create_parameter([len(self._layers)], attr=constant("features.weights", 0.0))
            self.scale = self.create_parameter([1], attr=constant("features.scale", 1.0))
        n_features = width * (len(self._layers) if self._chosen.use == "concat" else 1)
        self.lstm = BiLSTM(n_features, width, "lstm")
        self.classifier = Linear("classifier", 2 * width, n_outputs, config.initializer_range)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def train(self) -> None:
        """Set training mode except for the encoder, so that the features of a text are always the same."""
        super().train()
        self.encoder.eval()

    def forward(self, values: Mapping[str, Value]) -> Value:
        """The inputs by name -> logits [B, T, K]."""
        hidden = encode(self.encoder, values, keep_all_hidden=True).all_hidden
        chosen = [hidden[number].detach().astype("float32") for number in self._layers]
        if self._chosen.use == "weighted":
            shares = nn.functional.softmax(self.weights).split(len(chosen))
            features_BTF = self.scale * sum(share * layer for share, layer in zip(shares, chosen, strict=True))
        else:
            features_BTF = paddle.concat(chosen, axis=-1)
        found_BTD = self.lstm(features_BTF, values["attention_mask"].sum(1))
        return self.classifier(self.dropout(found_BTD))


class BiLSTM(nn.Layer):
    """Two layers of LSTMs in both directions (Hochreiter and Schmidhuber 1997); padding is ignored.

    Gates in the order input, forget, cell, output. Parameters for layer l and direction d (forward, backward):
    `{name}.{l}.{d}.input_weight` [4D, in], `.state_weight` [4D, D], `.input_bias` and `.state_bias` [4D].
    """

    def __init__(self, n_in: int, width: int, name: str) -> None:
        super().__init__()
        self._n_in, self._width = n_in, width
        bound = 1 / math.sqrt(width)
        weights, biases = [], []
        for layer in range(_LAYERS):
            read = n_in if layer == 0 else 2 * width
            for direction in ("forward", "backward"):
                prefix = f"{name}.{layer}.{direction}"
                weights += [
                    (f"{prefix}.input_weight", [4 * width, read]),
                    (f"{prefix}.state_weight", [4 * width, width]),
                ]
                biases += [(f"{prefix}.input_bias", [4 * width]), (f"{prefix}.state_bias", [4 * width])]
        # The operator expects all weights first; `nn.LSTM`, which calls it too, cannot name its parameters one by one.
        self._weights = [
            self.create_parameter(shape, attr=ParamAttr(name=title, initializer=init.Uniform(-bound, bound)))
            for title, shape in weights + biases
        ]

    def forward(self, x_BTF: Value, lengths_B: Value) -> Value:
        """[B, T, F] and int64 [B] -> [B, T, 2D], the forward direction first; zeros beyond the lengths."""
        x_TBF = x_BTF.transpose([1, 0, 2])
        # Zeros [2 · layers, B, D]; B is known only when the graph runs.
        zero_1B1 = paddle.zeros_like(x_TBF[:1, :, :1])
        state = paddle.tile(zero_1B1, [2 * _LAYERS, 1, self._width])
        with precision.float32():  # not all devices have the operator in 16 bits
            found_TBD, _, _ = paddle._C_ops.rnn(
                x_TBF,
                [state, state],
                self._weights,
                lengths_B.astype("int32"),
                paddle.zeros([1], "uint8"),  # state of a dropout that is not used
                0.0,
                True,  # both directions
                self._n_in,
                self._width,
                _LAYERS,
                "LSTM",
                0,
                not self.training,
            )
        return found_TBD.transpose([1, 0, 2])
