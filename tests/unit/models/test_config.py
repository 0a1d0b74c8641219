"""The architecture as data: names of the releases, mistakes, round trips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError

ERNIE_2_BASE = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "sent_type_vocab_size": 4,
    "task_type_vocab_size": 16,
    "vocab_size": 30522,
}
"""The configuration that ERNIE 2.0 base (English) was released with; it does not state the epsilon."""


def test_reads_a_release_once_the_epsilon_is_stated() -> None:
    with pytest.raises(UserError, match=r"'layer_norm_eps' is missing.*1e-5 in the static"):
        ErnieConfig.from_dict(ERNIE_2_BASE)
    config = ErnieConfig.from_dict(ERNIE_2_BASE | {"epsilon": 1e-5})
    assert (config.type_vocab_size, config.layer_norm_eps) == (4, 1e-5)
    assert (config.intermediate_size, config.head_size, config.max_length) == (3072, 64, 512)
    assert not config.use_task_id


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_hiden_layers": 3}, "unknown key 'num_hiden_layers'; did you mean 'num_hidden_layers'"),
        ({"zzzz": 3}, "unknown key 'zzzz'; known keys: vocab_size"),
        ({"type_vocab_size": 2}, "'type_vocab_size' is given twice"),
        ({"hidden_size": 100, "num_attention_heads": 12}, "not divisible by num_attention_heads"),
        ({"hidden_act": "swish"}, "must be one of gelu, relu"),
        ({"hidden_size": "768"}, "hidden_size is '768'; it must be a whole number"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0; .* at least 1"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob is 1.0; .* below 1"),
        ({"initializer_range": 0}, "initializer_range is 0; it must be above 0"),
        ({"use_task_id": 1}, "use_task_id is 1; it must be true or false"),
        ({"use_task_id": True, "task_type_vocab_size": 0}, "task_type_vocab_size is 0"),
        ({"pad_token_id": 30522}, "outside a vocabulary of 30522"),
        ({"position_offset": 512}, "leaves no position"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ErnieConfig.from_dict(ERNIE_2_BASE | {"layer_norm_eps": 1e-12} | values, where="arch.yaml")
    assert str(caught.value).startswith("arch.yaml: ")


def test_files(tmp_path: Path) -> None:
    config = ErnieConfig(vocab_size=100, hidden_size=32, num_attention_heads=4, position_offset=2, type_vocab_size=0)
    config.save_json(tmp_path / "model.json")
    assert ErnieConfig.from_json(tmp_path / "model.json") == config
    for text in ("{", "[1]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError, match=r"bad\.json"):
            ErnieConfig.from_json(tmp_path / "bad.json")
    with pytest.raises(UserError, match="cannot be read"):
        ErnieConfig.from_json(tmp_path / "none.json")


@given(
    heads=st.integers(1, 8),
    head_size=st.integers(1, 64),
    vocab_size=st.integers(2, 10**6),
    eps=st.sampled_from([1e-12, 1e-5]),
    use_task_id=st.booleans(),
)
def test_a_mapping_makes_the_same_configuration_again(
    heads: int, head_size: int, vocab_size: int, eps: float, use_task_id: bool
) -> None:
    config = ErnieConfig(
        vocab_size=vocab_size,
        hidden_size=heads * head_size,
        num_attention_heads=heads,
        layer_norm_eps=eps,
        use_task_id=use_task_id,
    )
    assert ErnieConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.head_size == head_size
