"""Mapping between our names and layout and Hugging Face's, for BERT, ERNIE and ERNIE-M.

Ours are PaddleNLP's `Ernie*` names with weights [in, out] (defined in `models/`); Hugging Face stores the weights of
linear layers as [out, in] and has other names for the two halves of a block. The prefix of the encoder is always
`ernie` here, whatever family the weights come from. Tied tensors are stored once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ernie_paddle.checkpoints.weights import Renamed, drop_tied
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError

_BLOCK = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}
_TO_HF_BLOCK = {ours: theirs for theirs, ours in _BLOCK.items()}
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")
_OUR_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_HEADS = {
    "cls.predictions.bias": "cls.predictions.decoder_bias",
    "cls.predictions.transform.dense.weight": "cls.predictions.transform.weight",
    "cls.predictions.transform.dense.bias": "cls.predictions.transform.bias",
    "cls.predictions.transform.LayerNorm.weight": "cls.predictions.layer_norm.weight",
    "cls.predictions.transform.LayerNorm.bias": "cls.predictions.layer_norm.bias",
}
_TO_HF_HEADS = {ours: theirs for theirs, ours in _HEADS.items()}
_TIED = {
    "cls.predictions.decoder.weight": "ernie.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.decoder_bias",
}
_ENCODERS = ("bert.", "ernie.", "ernie_m.")
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
_OLD_NORM = {".gamma": ".weight", ".beta": ".bias"}
"""The oldest BERT files have TensorFlow's names for the parameters of a LayerNorm."""

_SAID_ELSEWHERE = {
    "architectures", "model_type", "num_labels", "problem_type", "id2label", "label2id", "torch_dtype", "dtype",
    "transformers_version", "use_cache", "position_embedding_type", "classifier_dropout", "_name_or_path",
    "gradient_checkpointing", "directionality", "act_dropout", "is_decoder", "bos_token_id", "eos_token_id",
    "sep_token_id", "cls_token_id", "finetuning_task", "output_past", "pooler_fc_size", "pooler_num_attention_heads",
    "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type", "init_class", "num_classes", "dropout",
    "paddlenlp_version", "pool_act", "fuse", "enable_recompute", "pointer_inter_size", "return_dict", "num_choices",
}  # fmt: skip
"""Keys of Hugging Face and PaddleNLP that do not describe the encoder's mathematics, or only restate a default."""


def to_ours(name: str) -> str | None:
    """Map the name of a Hugging Face tensor to ours; None for a second copy of a tied tensor and for buffers.

    The span head `qa_outputs` is `classifier` here. Names of the ERNIE-M family are already close to ours.
    """
    if name in _TIED or name.endswith(_BUFFERS):
        return None
    for old, new in _OLD_NORM.items():
        if name.endswith(f"LayerNorm{old}"):
            name = name.removesuffix(old) + new
    if name in _HEADS:
        return _HEADS[name]
    if name.startswith("qa_outputs."):
        return name.replace("qa_outputs.", "classifier.")
    for prefix in _ENCODERS:
        if name.startswith(prefix):
            return "ernie." + _inside_encoder(name.removeprefix(prefix))
    if name.startswith(("embeddings.", "encoder.", "pooler.")):  # a bare encoder
        return "ernie." + _inside_encoder(name)
    return name


def _inside_encoder(name: str) -> str:
    match = _LAYER.fullmatch(name)
    if match and match[2] in _BLOCK:
        return f"encoder.layers.{match[1]}.{_BLOCK[match[2]]}.{match[3]}"
    return name.replace("embeddings.LayerNorm.", "embeddings.layer_norm.").replace("self_attn.self_attn.", "self_attn.")


def to_hf(name: str, family: str = "ernie", classifier: str = "classifier") -> str:
    """Map one of our names to Hugging Face's.

    Args:
        name: Our name.
        family: "ernie" or "bert" (they differ in the prefix), or "ernie_m".
        classifier: Hugging Face's name of the fine-tuning head (`Head.hf_name`).
    """
    assert family in ("ernie", "bert", "ernie_m"), family
    if name in _TO_HF_HEADS:
        return _TO_HF_HEADS[name]
    if name.startswith("classifier."):
        return classifier + name.removeprefix("classifier")
    if not name.startswith("ernie."):
        return name
    if family == "ernie_m":
        return re.sub(r"\.self_attn\.([qkv])_proj\.", r".self_attn.self_attn.\1_proj.", "ernie_m" + name[5:])
    inside = name.removeprefix("ernie.").replace("embeddings.layer_norm.", "embeddings.LayerNorm.")
    match = _OUR_LAYER.fullmatch(inside)
    if match:
        inside = f"encoder.layer.{match[1]}.{_TO_HF_BLOCK[match[2]]}.{match[3]}"
    return f"{family}.{inside}"


def is_transposed(our_name: str) -> bool:
    """Whether the tensor is the weight of a linear layer, whose layout differs: [in, out] here, [out, in] there."""
    if not our_name.endswith(".weight"):
        return False
    kind = our_name.split(".")[-2]
    return not (kind.endswith("_embeddings") or kind in ("norm1", "norm2", "layer_norm"))


def rename_hf(tensors: Mapping[str, np.ndarray]) -> Renamed:
    """Rename and transpose a Hugging Face state dict, and record the dropped tensors.

    Raises:
        UserError: Two tensors that should be tied differ, so that dropping one would lose weights.
    """
    renamed = Renamed()
    for name, array in tensors.items():
        new = to_ours(name)
        if new is not None:
            renamed.put(new, np.ascontiguousarray(array.T) if is_transposed(new) else array, name)
        elif name not in _TIED:
            renamed.left_out[name] = "a constant, not a weight"
    for name, kept in _TIED.items():
        if name not in tensors:
            continue
        if name.endswith(".bias") and kept not in renamed.arrays:
            renamed.put(kept, tensors[name], name)
        else:
            drop_tied(renamed, name, tensors[name], kept, lambda other: other)
    return renamed


def from_hf(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Like `rename_hf`, but returns only the arrays."""
    return rename_hf(tensors).arrays


def to_hf_tensors(
    ours: Mapping[str, np.ndarray], family: str = "ernie", classifier: str = "classifier"
) -> dict[str, np.ndarray]:
    """Rename and transpose our tensors for Hugging Face; tied tensors are written once, as Hugging Face itself does."""
    return {
        to_hf(name, family, classifier): np.ascontiguousarray(array.T) if is_transposed(name) else array
        for name, array in ours.items()
    }


def config_from_hf(values: Mapping[str, Any]) -> ErnieConfig:
    """Read the architecture from a Hugging Face `config.json` of model_type bert, ernie or ernie_m.

    Raises:
        UserError: The family is another one, or this encoder does not support a setting.
    """
    family = values.get("model_type")
    if family not in ("bert", "ernie", "ernie_m"):
        raise UserError(f"model_type is {family!r}; only bert, ernie and ernie_m are supported")
    if values.get("act_dropout", 0) != 0:
        raise UserError(
            f"act_dropout is {values['act_dropout']!r}; this encoder has no dropout inside the feed-forward layer"
        )
    if values.get("pool_act", "tanh") != "tanh":
        raise UserError(f"pool_act is {values['pool_act']!r}; only tanh is supported")
    if values.get("position_embedding_type", "absolute") != "absolute":
        raise UserError(f"position_embedding_type is {values['position_embedding_type']!r}; only absolute is supported")
    own = {key: value for key, value in values.items() if key not in _SAID_ELSEWHERE} | {"family": family}
    if family == "ernie_m":
        own |= {"type_vocab_size": 0, "position_offset": 2}
    return ErnieConfig.from_dict(own, where=f"the {family} configuration")
