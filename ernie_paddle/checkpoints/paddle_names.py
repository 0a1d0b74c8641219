"""Mapping between our names and those of Paddle's layouts: static releases, PaddleNLP, and ERNIE's `develop` branch.

All of them store linear weights as [in, out], as we do, so nothing is transposed. Ours are PaddleNLP's `Ernie*` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ernie_paddle.checkpoints.weights import Renamed, drop_tied, floats_only, take_masters

WORDS = "ernie.embeddings.word_embeddings.weight"
MLM_BIAS = "cls.predictions.decoder_bias"

_PREFIXES = ("ernie.", "bert.", "ernie_m.")
_PADDLENLP_TIED = {
    "cls.predictions.decoder.weight": WORDS,
    "cls.predictions.decoder_weight": WORDS,
    "cls.predictions.decoder.bias": MLM_BIAS,
}

_STATIC = {
    "word_embedding": WORDS,
    "pos_embedding": "ernie.embeddings.position_embeddings.weight",
    "sent_embedding": "ernie.embeddings.token_type_embeddings.weight",
    "task_embedding": "ernie.embeddings.task_type_embeddings.weight",
    "pre_encoder_layer_norm_scale": "ernie.embeddings.layer_norm.weight",
    "pre_encoder_layer_norm_bias": "ernie.embeddings.layer_norm.bias",
    "pooled_fc.w_0": "ernie.pooler.dense.weight",
    "pooled_fc.b_0": "ernie.pooler.dense.bias",
    "mask_lm_trans_fc.w_0": "cls.predictions.transform.weight",
    "mask_lm_trans_fc.b_0": "cls.predictions.transform.bias",
    "mask_lm_trans_layer_norm_scale": "cls.predictions.layer_norm.weight",
    "mask_lm_trans_layer_norm_bias": "cls.predictions.layer_norm.bias",
    "mask_lm_out_fc.b_0": MLM_BIAS,
    "next_sent_fc.w_0": "cls.seq_relationship.weight",
    "next_sent_fc.b_0": "cls.seq_relationship.bias",
    "cls_out_w": "classifier.weight",
    "cls_out_b": "classifier.bias",
}
_TO_STATIC = {ours: theirs for theirs, ours in _STATIC.items()}
_STATIC_HEADS = {
    f"{head}_{letter}": f"classifier.{kind}"
    for head in ("cls_seq_label_out", "cls_mrc_out")
    for letter, kind in (("w", "weight"), ("b", "bias"))
}
"""Heads of tasks other than the classification of texts (see `heads`)."""
_STATIC_UNTIED = "mask_lm_out_fc.w_0"
_STATIC_LAYER = re.compile(r"encoder_layer_(\d+)_(.+?)(\.w_0|\.b_0|_scale|_bias)")
_STATIC_BLOCK = {
    "multi_head_att_query_fc": "self_attn.q_proj",
    "multi_head_att_key_fc": "self_attn.k_proj",
    "multi_head_att_value_fc": "self_attn.v_proj",
    "multi_head_att_output_fc": "self_attn.out_proj",
    "post_att_layer_norm": "norm1",
    "ffn_fc_0": "linear1",
    "ffn_fc_1": "linear2",
    "post_ffn_layer_norm": "norm2",
}
_TO_STATIC_BLOCK = {ours: theirs for theirs, ours in _STATIC_BLOCK.items()}
_OUR_LAYER = re.compile(r"ernie\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_OPTIMIZER = re.compile(r".*_(moment[12]|beta[12]_pow_acc)_\d+|learning_rate_\d+|@LR_DECAY_COUNTER@|.*loss_scaling.*")

_DEVELOP = {
    "word_emb.": "ernie.embeddings.word_embeddings.",
    "pos_emb.": "ernie.embeddings.position_embeddings.",
    "sent_emb.": "ernie.embeddings.token_type_embeddings.",
    "ln.": "ernie.embeddings.layer_norm.",
    "pooler.": "ernie.pooler.dense.",
    "mlm.": "cls.predictions.transform.",
    "mlm_ln.": "cls.predictions.layer_norm.",
}
_DEVELOP_LAYER = re.compile(r"encoder_stack\.block\.(\d+)\.(attn\.[qkvo]|ln1|ln2|ffn\.[io])\.(weight|bias)")
_DEVELOP_BLOCK = {
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.out_proj",
    "ln1": "norm1",
    "ffn.i": "linear1",
    "ffn.o": "linear2",
    "ln2": "norm2",
}


def static_to_ours(name: str) -> str | None:
    """Map the name of a static release's variable to ours; None for an unknown variable."""
    match = _STATIC_LAYER.fullmatch(name)
    if match and match[2] in _STATIC_BLOCK:
        kind = "weight" if match[3] in (".w_0", "_scale") else "bias"
        return f"ernie.encoder.layers.{match[1]}.{_STATIC_BLOCK[match[2]]}.{kind}"
    return _STATIC.get(name) or _STATIC_HEADS.get(name)


def ours_to_static(name: str, classifier: str = "cls_out") -> str:
    """Map one of our names to the static releases'; a tensor that they do not have keeps our name.

    Args:
        name: Our name.
        classifier: Name of the fine-tuning head in the static releases (`Head.static_name`).
    """
    if name in ("classifier.weight", "classifier.bias"):
        return f"{classifier}_{'w' if name.endswith('weight') else 'b'}"
    match = _OUR_LAYER.fullmatch(name)
    if match is None:
        return _TO_STATIC.get(name, name)
    norm = match[2].startswith("norm")
    end = {"weight": "_scale", "bias": "_bias"} if norm else {"weight": ".w_0", "bias": ".b_0"}
    return f"encoder_layer_{match[1]}_{_TO_STATIC_BLOCK[match[2]]}{end[match[3]]}"


def from_static(variables: Mapping[str, NDArray[Any]]) -> Renamed:
    """Rename the variables of a static release; those of the optimizer are dropped.

    Raises:
        UserError: The MLM decoder is not tied to the word embedding.
    """
    renamed = Renamed()
    floats = floats_only(take_masters(variables, renamed), renamed)
    for name, array in floats.items():
        if _OPTIMIZER.fullmatch(name):
            renamed.left_out[name] = "belongs to the optimizer"
        elif name != _STATIC_UNTIED:
            renamed.put(static_to_ours(name) or name, array, name)
    if _STATIC_UNTIED in floats:
        drop_tied(renamed, _STATIC_UNTIED, floats[_STATIC_UNTIED], WORDS, lambda words: words.T)
    return renamed


def paddlenlp_to_ours(name: str) -> str:
    """Map the name of a tensor to ours, from PaddleNLP (`Ernie*`, `Bert*`, `ErnieM*`) or ERNIE's `develop` branch."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return "ernie." + name.removeprefix(prefix)
    if name.startswith(("embeddings.", "encoder.", "pooler.dense.")):  # a bare encoder
        return "ernie." + name
    match = _DEVELOP_LAYER.fullmatch(name)
    if match:
        return f"ernie.encoder.layers.{match[1]}.{_DEVELOP_BLOCK[match[2]]}.{match[3]}"
    if name == "mlm_bias":
        return MLM_BIAS
    for theirs, ours in _DEVELOP.items():
        if name.removeprefix(theirs) in ("weight", "bias"):
            return ours + name.removeprefix(theirs)
    return name


def ours_to_paddlenlp(name: str, family: str) -> str:
    """PaddleNLP's name of one of our tensors."""
    return f"{family}." + name.removeprefix("ernie.") if name.startswith("ernie.") else name


def from_paddlenlp(tensors: Mapping[str, NDArray[Any]]) -> Renamed:
    """Rename the tensors of a state dict of PaddleNLP.

    Raises:
        UserError: The MLM decoder is not tied to the word embedding.
    """
    renamed = Renamed()
    floats = floats_only(take_masters(tensors, renamed), renamed)
    for name, array in floats.items():
        if name not in _PADDLENLP_TIED:
            renamed.put(paddlenlp_to_ours(name), array, name)
    for name, kept in _PADDLENLP_TIED.items():
        if name in floats and kept == MLM_BIAS and kept not in renamed.arrays:
            renamed.put(kept, floats[name], name)
        elif name in floats:
            drop_tied(renamed, name, floats[name], kept, lambda other: other)
    return renamed
