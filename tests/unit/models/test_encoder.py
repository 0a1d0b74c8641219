"""Laws of the encoder: what its outputs may depend on, how it starts, what is shared."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.heads import MaskedLMHead, gather_positions

CONFIG = ErnieConfig(
    vocab_size=50,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=16,
    type_vocab_size=3,
    task_type_vocab_size=5,
    use_task_id=True,
    initializer_range=0.2,
)
RNG = np.random.default_rng(7)


@pytest.fixture
def encoder() -> Encoder:
    paddle.disable_static()
    paddle.seed(1)
    with paddle.utils.unique_name.guard():
        encoder = Encoder(CONFIG)
    encoder.eval()
    return encoder


def ids(*shape: int) -> np.ndarray:
    return RNG.integers(1, CONFIG.vocab_size, shape)


def hidden(encoder: Encoder, *arrays: np.ndarray | None, **named: np.ndarray) -> np.ndarray:
    values = [None if a is None else paddle.to_tensor(a) for a in arrays]
    return encoder(*values, **{k: paddle.to_tensor(v) for k, v in named.items()}).hidden_BTH.numpy()


def test_names_and_shapes_are_those_of_the_releases(encoder: Encoder) -> None:
    width, inner = CONFIG.hidden_size, CONFIG.intermediate_size
    expected = {
        "ernie.embeddings.word_embeddings.weight": [50, width],
        "ernie.embeddings.position_embeddings.weight": [16, width],
        "ernie.embeddings.token_type_embeddings.weight": [3, width],
        "ernie.embeddings.task_type_embeddings.weight": [5, width],
        "ernie.embeddings.layer_norm.weight": [width],
        "ernie.embeddings.layer_norm.bias": [width],
        "ernie.pooler.dense.weight": [width, width],
        "ernie.pooler.dense.bias": [width],
    }
    for i in range(2):
        block = f"ernie.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            expected |= {f"{block}.self_attn.{name}.weight": [width, width], f"{block}.self_attn.{name}.bias": [width]}
        expected |= {f"{block}.linear1.weight": [width, inner], f"{block}.linear1.bias": [inner]}
        expected |= {f"{block}.linear2.weight": [inner, width], f"{block}.linear2.bias": [width]}
        for name in ("norm1", "norm2"):
            expected |= {f"{block}.{name}.weight": [width], f"{block}.{name}.bias": [width]}
    assert {p.name: list(p.shape) for p in encoder.parameters()} == expected


def test_tables_that_are_not_configured_do_not_exist() -> None:
    paddle.disable_static()
    config = ErnieConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, type_vocab_size=0)
    with paddle.utils.unique_name.guard():
        names = [p.name for p in Encoder(config, name="other", add_pooler=False).parameters()]
    assert all(name.startswith("other.") for name in names)
    assert not [name for name in names if "type_embeddings" in name or "pooler" in name]


def test_initial_values(encoder: Encoder) -> None:
    """Truncated at two deviations, a normal distribution keeps 0.8796 of its deviation."""
    for parameter in encoder.parameters():
        values = parameter.numpy()
        if parameter.name.endswith("bias"):
            assert not values.any()
        elif "norm" in parameter.name:
            assert (values == 1).all()
        else:
            assert np.abs(values).max() <= 0.4 + 1e-6
            assert values.std() == pytest.approx(0.2 * 0.8796, rel=6 / np.sqrt(values.size))
            assert abs(values.mean()) < 6 * 0.2 / np.sqrt(values.size)


def test_inputs_left_out_are_zeros_and_counting_positions(encoder: Encoder) -> None:
    x = ids(3, 9)
    zeros, positions = np.zeros_like(x), np.tile(np.arange(9), (3, 1))
    implicit, explicit = hidden(encoder, x), hidden(encoder, x, zeros, positions, zeros, np.ones_like(x))
    np.testing.assert_array_equal(implicit, explicit)
    for k in (1, 2, 3):  # segments, positions, tasks: each matters
        arrays = [x, zeros, positions, zeros]
        arrays[k] = arrays[k] + 1
        assert np.abs(hidden(encoder, *arrays) - implicit).max() > 0.05


def test_real_tokens_do_not_see_padding(encoder: Encoder) -> None:
    x, padded = ids(2, 6), ids(2, 11)
    padded[:, :6] = x
    mask = (np.arange(11) < 6).astype(np.int64) * np.ones((2, 1), np.int64)
    np.testing.assert_allclose(hidden(encoder, padded, attention_mask=mask)[:, :6], hidden(encoder, x), atol=2e-6)
    assert np.abs(hidden(encoder, padded)[:, :6] - hidden(encoder, x)).max() > 0.05


def test_a_mask_for_each_query(encoder: Encoder) -> None:
    """Equal rows make the 2-D mask; a triangle hides later tokens; an empty row does no harm to the others."""
    x = ids(2, 8)
    mask = RNG.integers(0, 2, (2, 8))
    mask[:, 0] = 1
    rows = np.repeat(mask[:, None], 8, axis=1)
    np.testing.assert_allclose(
        hidden(encoder, x, attention_mask=rows), hidden(encoder, x, attention_mask=mask), atol=2e-6
    )
    causal = np.tile(np.tril(np.ones((8, 8), np.int64)), (2, 1, 1))
    changed = x.copy()
    changed[:, 5:] = ids(2, 3)
    before, after = (hidden(encoder, a, attention_mask=causal) for a in (x, changed))
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert np.abs(before[:, 5:] - after[:, 5:]).max() > 0.05
    empty = causal.copy()
    empty[:, 7] = 0
    result = hidden(encoder, x, attention_mask=empty)
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(result[:, :7], before[:, :7])


def test_dropout_only_while_training(encoder: Encoder) -> None:
    x = ids(2, 8)
    encoder.train()
    paddle.seed(3)
    first = hidden(encoder, x)
    second = hidden(encoder, x)
    paddle.seed(3)
    np.testing.assert_array_equal(hidden(encoder, x), first)
    assert np.abs(first - second).max() > 0.05
    encoder.eval()
    np.testing.assert_array_equal(hidden(encoder, x), hidden(encoder, x))


def test_a_head_sees_the_positions_that_it_is_given(encoder: Encoder) -> None:
    with paddle.utils.unique_name.guard():
        head = MaskedLMHead(CONFIG, encoder.embeddings.word.weight)
    assert not [p for p in head.parameters() if p.shape[0] == CONFIG.vocab_size and len(p.shape) == 2]
    head.eval()
    states = encoder(paddle.to_tensor(ids(3, 5))).hidden_BTH
    everywhere = head(states.reshape([15, -1])).numpy().reshape(3, 5, -1)
    positions = np.array([14, 0, 7])
    some = head(gather_positions(states, paddle.to_tensor(positions))).numpy()
    np.testing.assert_allclose(some, everywhere[positions // 5, positions % 5], atol=1e-5)


def test_the_pooler_is_built_when_it_is_read(encoder: Encoder) -> None:
    output = encoder(paddle.to_tensor(ids(3, 5)))
    pooled = output.pooled_BH
    assert pooled is output.pooled_BH
    weight, bias = encoder.pooler.dense.weight.numpy(), encoder.pooler.dense.bias.numpy()
    np.testing.assert_allclose(pooled.numpy(), np.tanh(output.hidden_BTH.numpy()[:, 0] @ weight + bias), atol=1e-6)
