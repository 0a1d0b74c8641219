"""Names of every layout against lists written by hand or verified elsewhere, and shapes against the model itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.checkpoints.heads import QUESTION, Head
from ernie_paddle.checkpoints.hf_names import rename_hf, to_hf
from ernie_paddle.checkpoints.paddle_names import (
    from_paddlenlp,
    from_static,
    ours_to_paddlenlp,
    ours_to_static,
    paddlenlp_to_ours,
    static_to_ours,
)
from ernie_paddle.checkpoints.shapes import encoder_shapes, head_shapes
from helpers.released import CONFIG, random_arrays
from propeller.errors import UserError

STATIC_AND_DEVELOP = """
word_embedding word_emb.weight ernie.embeddings.word_embeddings.weight
pos_embedding pos_emb.weight ernie.embeddings.position_embeddings.weight
sent_embedding sent_emb.weight ernie.embeddings.token_type_embeddings.weight
task_embedding - ernie.embeddings.task_type_embeddings.weight
pre_encoder_layer_norm_scale ln.weight ernie.embeddings.layer_norm.weight
pre_encoder_layer_norm_bias ln.bias ernie.embeddings.layer_norm.bias
encoder_layer_7_multi_head_att_query_fc.w_0 encoder_stack.block.7.attn.q.weight ernie.encoder.layers.7.self_attn.q_proj.weight
encoder_layer_7_multi_head_att_key_fc.b_0 encoder_stack.block.7.attn.k.bias ernie.encoder.layers.7.self_attn.k_proj.bias
encoder_layer_7_multi_head_att_value_fc.w_0 encoder_stack.block.7.attn.v.weight ernie.encoder.layers.7.self_attn.v_proj.weight
encoder_layer_7_multi_head_att_output_fc.b_0 encoder_stack.block.7.attn.o.bias ernie.encoder.layers.7.self_attn.out_proj.bias
encoder_layer_7_post_att_layer_norm_scale encoder_stack.block.7.ln1.weight ernie.encoder.layers.7.norm1.weight
encoder_layer_7_post_att_layer_norm_bias encoder_stack.block.7.ln1.bias ernie.encoder.layers.7.norm1.bias
encoder_layer_11_ffn_fc_0.w_0 encoder_stack.block.11.ffn.i.weight ernie.encoder.layers.11.linear1.weight
encoder_layer_11_ffn_fc_1.b_0 encoder_stack.block.11.ffn.o.bias ernie.encoder.layers.11.linear2.bias
encoder_layer_11_post_ffn_layer_norm_scale encoder_stack.block.11.ln2.weight ernie.encoder.layers.11.norm2.weight
encoder_layer_11_post_ffn_layer_norm_bias encoder_stack.block.11.ln2.bias ernie.encoder.layers.11.norm2.bias
pooled_fc.w_0 pooler.weight ernie.pooler.dense.weight
pooled_fc.b_0 pooler.bias ernie.pooler.dense.bias
mask_lm_trans_fc.w_0 mlm.weight cls.predictions.transform.weight
mask_lm_trans_fc.b_0 mlm.bias cls.predictions.transform.bias
mask_lm_trans_layer_norm_scale mlm_ln.weight cls.predictions.layer_norm.weight
mask_lm_trans_layer_norm_bias mlm_ln.bias cls.predictions.layer_norm.bias
mask_lm_out_fc.b_0 mlm_bias cls.predictions.decoder_bias
next_sent_fc.w_0 - cls.seq_relationship.weight
next_sent_fc.b_0 - cls.seq_relationship.bias
cls_out_w - classifier.weight
cls_out_b - classifier.bias
"""  # noqa: E501
ROWS = [line.split() for line in STATIC_AND_DEVELOP.strip().splitlines()]


@pytest.mark.parametrize(("static", "develop", "ours"), ROWS)
def test_static_and_develop_names(static: str, develop: str, ours: str) -> None:
    assert static_to_ours(static) == ours
    assert ours_to_static(ours) == static
    if develop != "-":
        assert paddlenlp_to_ours(develop) == ours


@pytest.mark.parametrize("family", ["ernie", "bert", "ernie_m"])
def test_paddlenlp_names_are_those_that_were_verified_by_loading(test_data: Path, family: str) -> None:
    document = json.loads((test_data / "golden/models/parameter_names.json").read_text())
    (pairs,) = (v for k, v in document.items() if k.startswith(f"{family} ("))
    for pair in pairs:
        theirs = pair["paddlenlp"].replace("{i}", "7")
        if family == "ernie_m":  # that file has no prefix
            assert paddlenlp_to_ours(theirs) == f"ernie.{theirs}"
            theirs = f"ernie_m.{theirs}"
        assert ours_to_paddlenlp(paddlenlp_to_ours(theirs), family) == theirs
        hf = pair["hf"].replace("{i}", "7")
        if family == "ernie_m":
            hf = f"ernie_m.{hf}"
        assert to_hf(paddlenlp_to_ours(theirs), family) == hf


def test_the_head_of_questions_as_it_was_verified_by_loading(test_data: Path) -> None:
    document = json.loads((test_data / "golden/models/parameter_names.json").read_text())
    head = Head(QUESTION)
    for pair in document["bert heads (QA)"]:
        assert ours_to_paddlenlp(pair["paddlenlp"], "bert") == pair["paddlenlp"]
        assert to_hf(paddlenlp_to_ours(pair["paddlenlp"]), "bert", head.hf_name) == pair["hf"]


@pytest.mark.parametrize("changes", [{}, {"use_task_id": False}, {"type_vocab_size": 0, "intermediate_size": 24}])
def test_shapes_are_those_of_the_model(changes: dict[str, int]) -> None:
    import paddle

    from ernie_paddle.models.encoder import Encoder
    from ernie_paddle.models.heads import MaskedLMHead, PooledClassifier

    config = dataclasses.replace(CONFIG, **changes)
    paddle.disable_static()
    with paddle.utils.unique_name.guard():
        encoder = Encoder(config)
        mlm = MaskedLMHead(config, encoder.embeddings.word.weight)
        layers = [encoder, mlm, PooledClassifier(config, 2, "cls.seq_relationship")]
    built = {p.name: tuple(p.shape) for layer in layers for p in layer.parameters()}
    wanted = encoder_shapes(config)
    for shapes in head_shapes(config).values():
        wanted |= shapes
    assert wanted == built


def test_variables_of_the_optimizer_and_untied_decoders() -> None:
    words = random_arrays()["ernie.embeddings.word_embeddings.weight"]
    variables = {
        "word_embedding": words,
        "word_embedding_moment1_0": words,
        "pos_embedding_beta2_pow_acc_0": np.zeros(1, np.float32),
        "learning_rate_0": np.zeros(1, np.float32),
        "@LR_DECAY_COUNTER@": np.zeros(1, np.int64),
        "mask_lm_out_fc.w_0": np.ascontiguousarray(words.T),
        "my_task_fc.w_0": np.zeros((3, 2), np.float32),
    }
    found = from_static(variables)
    assert set(found.arrays) == {"ernie.embeddings.word_embeddings.weight", "my_task_fc.w_0"}
    assert set(found.left_out) == set(variables) - {"word_embedding", "my_task_fc.w_0"}
    with pytest.raises(UserError, match="untied decoder"):
        from_static({**variables, "mask_lm_out_fc.w_0": words.T + 1})


def test_float32_masters_replace_half_precision() -> None:
    master = np.float32([[1.00001, 2.00002]])
    half = master.astype(np.float16)
    other = np.float16([0.1])
    found = from_static({"word_embedding": half, "word_embedding.master": master, "pos_embedding": other})
    assert np.array_equal(found.arrays["ernie.embeddings.word_embeddings.weight"], master)
    assert found.sources["ernie.embeddings.word_embeddings.weight"] == "word_embedding"
    positions = found.arrays["ernie.embeddings.position_embeddings.weight"]
    assert positions.dtype == np.float32
    assert np.array_equal(positions, other.astype(np.float32))
    assert found.left_out == {"word_embedding": "word_embedding.master is its float32 value"}
    assert len(found.notes) == 2


def test_bfloat16_that_paddle_keeps_as_uint16() -> None:
    values = np.float32([1.5, -3.25, 0.0])  # exact in bfloat16
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    found = from_paddlenlp({"ernie.pooler.dense.bias": bits})
    assert np.array_equal(found.arrays["ernie.pooler.dense.bias"], values)


def test_two_tensors_with_one_name_are_refused() -> None:
    one = np.zeros((2, 2), np.float32)
    with pytest.raises(UserError, match=r"cls_out_w and cls_mrc_out_w are both classifier\.weight"):
        from_static({"cls_out_w": one, "cls_mrc_out_w": one})


def test_decoders_of_paddlenlp() -> None:
    words, bias = np.ones((4, 2), np.float32), np.arange(4, dtype=np.float32)
    name = "ernie.embeddings.word_embeddings.weight"
    for tensors in (
        {name: words, "cls.predictions.decoder.weight": words, "cls.predictions.decoder.bias": bias},
        {name: words, "cls.predictions.decoder_weight": words, "cls.predictions.decoder_bias": bias},
    ):
        found = from_paddlenlp(tensors)
        assert set(found.arrays) == {name, "cls.predictions.decoder_bias"}
        assert np.array_equal(found.arrays["cls.predictions.decoder_bias"], bias)
    with pytest.raises(UserError, match="untied decoder"):
        from_paddlenlp({name: words, "cls.predictions.decoder_weight": words + 1})


def test_the_oldest_names_of_bert() -> None:
    tensors = {
        "bert.embeddings.LayerNorm.gamma": np.ones(2, np.float32),
        "bert.encoder.layer.3.output.LayerNorm.beta": np.zeros(2, np.float32),
        "bert.embeddings.position_ids": np.arange(4),
    }
    found = rename_hf(tensors)
    assert set(found.arrays) == {"ernie.embeddings.layer_norm.weight", "ernie.encoder.layers.3.norm2.bias"}
    assert set(found.left_out) == {"bert.embeddings.position_ids"}
