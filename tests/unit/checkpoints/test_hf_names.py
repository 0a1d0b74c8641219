"""Names and layout of Hugging Face's tensors and ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.checkpoints.hf_names import config_from_hf, from_hf, is_transposed, to_hf, to_hf_tensors, to_ours
from propeller.errors import UserError

WORD = "embeddings.word_embeddings.weight"


@pytest.mark.parametrize("family", ["ernie", "bert", "ernie_m"])
def test_the_mapping_is_the_one_that_was_verified_by_loading(test_data: Path, family: str) -> None:
    document = json.loads((test_data / "golden/models/parameter_names.json").read_text())
    (pairs,) = (v for k, v in document.items() if k.startswith(f"{family} ("))
    assert len(pairs) > 20
    for pair in pairs:
        hf, theirs = (pair[key].replace("{i}", "7") for key in ("hf", "paddlenlp"))
        ours = to_ours(hf)
        if family == "ernie_m":  # that file has no prefix
            theirs = f"ernie.{theirs}"
        assert ours == theirs.replace("bert.", "ernie.")
        assert is_transposed(ours) == pair["transpose"], ours
        if family != "ernie_m":
            assert to_hf(ours, family) == hf


def test_tensors_survive_the_way_there_and_back() -> None:
    rng = np.random.default_rng(0)
    names = [
        "ernie.embeddings.word_embeddings.weight",
        "ernie.embeddings.layer_norm.bias",
        "ernie.encoder.layers.11.self_attn.out_proj.weight",
        "ernie.encoder.layers.0.linear1.weight",
        "ernie.encoder.layers.0.norm2.weight",
        "ernie.pooler.dense.weight",
        "cls.predictions.transform.weight",
        "cls.predictions.decoder_bias",
        "cls.seq_relationship.weight",
        "classifier.weight",
    ]
    ours = {n: rng.standard_normal((3, 5) if n.endswith("weight") and "norm" not in n else (5,)) for n in names}
    theirs = to_hf_tensors(ours)
    assert theirs["ernie.encoder.layer.0.intermediate.dense.weight"].shape == (5, 3)
    assert theirs["ernie.embeddings.word_embeddings.weight"].shape == (3, 5)
    back = from_hf(theirs)
    assert list(back) == names
    assert all(np.array_equal(back[n], ours[n]) for n in names)


def test_a_second_copy_of_a_tied_tensor_must_be_equal() -> None:
    word, bias = np.ones((4, 2)), np.zeros(4)
    tensors = {f"bert.{WORD}": word, "cls.predictions.bias": bias, "cls.predictions.decoder.bias": bias}
    assert sorted(from_hf(tensors | {"cls.predictions.decoder.weight": word})) == [
        "cls.predictions.decoder_bias",
        f"ernie.{WORD}",
    ]
    with pytest.raises(UserError, match=r"decoder\.weight differs"):
        from_hf(tensors | {"cls.predictions.decoder.weight": word + 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "roberta"}, "only bert, ernie and ernie_m"),
        ({"model_type": "bert", "position_embedding_type": "relative_key"}, "only absolute"),
        ({"model_type": "ernie_m", "act_dropout": 0.1}, "no dropout inside"),
        ({"model_type": "bert", "layer_norm_eps": 1e-12, "vocab_size": 9, "n_layers": 3}, "unknown key 'n_layers'"),
    ],
)
def test_other_architectures_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_from_hf(values)
