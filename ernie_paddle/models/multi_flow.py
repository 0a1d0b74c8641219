"""Multi-flow attention (ERNIE-GEN, section 3.3): one encoder that reads a source and writes a target.

The contextual flow holds the source S and the (noised) target T'. The generation flows consist of [ATTN] symbols, one
for each target token: in the word-by-word flow an [ATTN] sees the source, the target tokens before its own, and itself;
in the span-by-span flow it sees the source, the target tokens before the span of its own, and itself. All flows share
all parameters. The keys and values of the contextual flow are computed once for each layer; no flow attends to the
[ATTN] symbols of others, so that the mask over all (N + 3M)² pairs never exists.

Shape suffixes: B batch, N source slots, M target slots, H hidden, C = N + M context keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import paddle

from ernie_paddle.models.attention import attention_bias
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.forms import Value
from ernie_paddle.models.inputs import TASK_IDS, tokens_input

WORD, SPAN = "word", "span"
FLOWS = (WORD, SPAN)
"""The generation flows by name."""

SOURCE_IDS, SOURCE_SEGMENTS, SOURCE_POSITIONS, SOURCE_MASK = (
    tokens_input(f"source_{name}") for name in ("ids", "segments", "positions", "mask")
)
TARGET_IDS, TARGET_SEGMENTS, TARGET_POSITIONS, TARGET_MASK, ATTN_IDS, SPAN_STARTS = (
    tokens_input(name)
    for name in ("target_ids", "target_segments", "target_positions", "target_mask", "attn_ids", "span_starts")
)
CONTEXT_INPUTS = (
    SOURCE_IDS, SOURCE_SEGMENTS, SOURCE_POSITIONS, SOURCE_MASK,
    TARGET_IDS, TARGET_SEGMENTS, TARGET_POSITIONS, TARGET_MASK,
)  # fmt: skip
"""What the contextual flow is fed, int64 [B, N] and [B, M]; a mask is 1 on real tokens, which come first in a row."""
FLOW_INPUTS = {WORD: (ATTN_IDS,), SPAN: (ATTN_IDS, SPAN_STARTS)}
"""What each generation flow is fed besides, int64 [B, M]: the id of [ATTN] in every slot, and for each target token the
number of the first token of its span."""


@dataclass
class MultiFlowOutput:
    """What the flows found.

    Attributes:
        flows: vectors of the last block [B, M, H], by the name of the generation flow.
        source_BNH: vectors of the last block at the source; None where only generation flows are asked for.
        target_BMH: the same at the target.
        all_layers: the embeddings and every block's output, (source, target, flows) each, if asked for.
    """

    flows: dict[str, Value]
    source_BNH: Value | None = None  # noqa: N815
    target_BMH: Value | None = None  # noqa: N815
    all_layers: list[tuple[Value, Value, dict[str, Value]]] = field(default_factory=list)


def target_masks(
    source_mask_BN: Value, target_mask_BM: Value, span_starts_BM: Value | None, flows: tuple[str, ...] = FLOWS
) -> dict[str, Value]:
    """Which keys the queries at the target slots may see; every query sees all real source tokens.

    Args:
        source_mask_BN: int64, 1 on real tokens.
        target_mask_BM: int64, 1 on real tokens.
        span_starts_BM: int64, the first token of the span of each target token; None where no flow goes by spans.
        flows: the generation flows whose masks are made.

    Returns:
        float32 masks, 1 where a key may be seen: "context" [B, M, C]; "word" and "span" [B, M, C + M], whose last M
        columns are the [ATTN] symbols, of which each sees itself alone.
    """
    column_BM = paddle.cumsum(paddle.ones_like(target_mask_BM), axis=1) - 1
    row_BM1, key_B1M = column_BM.unsqueeze(2), column_BM.unsqueeze(1)
    real_B1M = target_mask_BM.unsqueeze(1) == 1
    own_BMM = (key_B1M == row_BM1).astype("float32")
    ones_BM1 = paddle.ones_like(row_BM1).astype("float32")
    source_BMN = ones_BM1 * source_mask_BN.unsqueeze(1).astype("float32")

    def seeing(target_BMM: Value, *more: Value) -> Value:
        return paddle.concat([source_BMN, (target_BMM & real_B1M).astype("float32"), *more], axis=2)

    masks = {"context": seeing(key_B1M <= row_BM1)}
    if WORD in flows:
        masks[WORD] = seeing(key_B1M < row_BM1, own_BMM)
    if SPAN in flows and span_starts_BM is not None:
        masks[SPAN] = seeing(key_B1M < span_starts_BM.unsqueeze(2), own_BMM)
    return masks


def encode_flows(
    encoder: Encoder,
    feeds: Mapping[str, Value],
    flows: tuple[str, ...],
    *,
    keep_context: bool = False,
    keep_all_layers: bool = False,
) -> MultiFlowOutput:
    """Run the contextual flow and the generation flows that are asked for; those that are not cost nothing.

    Args:
        encoder: has the parameters of all flows.
        feeds: `CONTEXT_INPUTS` and the `FLOW_INPUTS` of the flows, by name, and `task_ids` [B, T] if the
            model has task embeddings.
        flows: of `FLOWS`; none for typical generation, which reads the contextual flow at the target.
        keep_context: also compute the contextual flow in the last block, which no generation flow needs.
        keep_all_layers: fill `MultiFlowOutput.all_layers`.
    """
    keep_context = keep_context or keep_all_layers or not flows
    source_mask_BN, target_mask_BM = feeds[SOURCE_MASK.name], feeds[TARGET_MASK.name]
    masks = target_masks(source_mask_BN, target_mask_BM, feeds[SPAN_STARTS.name] if SPAN in flows else None, flows)
    source_bias = attention_bias(source_mask_BN)
    biases = {name: attention_bias(mask) for name, mask in masks.items()}
    # A row has one task id, which holds for its source and its target.
    task_B1 = feeds[TASK_IDS.name][:, :1] if TASK_IDS.name in feeds else None
    read = [feeds[item.name] for item in (SOURCE_IDS, SOURCE_SEGMENTS, SOURCE_POSITIONS)]
    source = encoder.embeddings(*read, task_B1)
    places = [*(feeds[item.name] for item in (TARGET_SEGMENTS, TARGET_POSITIONS)), task_B1]
    target = encoder.embeddings(feeds[TARGET_IDS.name], *places)
    found = {name: encoder.embeddings(feeds[ATTN_IDS.name], *places) for name in flows}
    layers = [(source, target, found)]
    for number, block in enumerate(encoder.layers):
        last = number + 1 == len(encoder.layers)
        source_kv, target_kv = block.keys_values(source), block.keys_values(target)
        context = [paddle.concat(pair, axis=1) for pair in zip(source_kv, target_kv, strict=True)]
        following = {}
        for name, vectors in found.items():
            keys, values = (
                paddle.concat([shared, own], axis=1)
                for shared, own in zip(context, block.keys_values(vectors), strict=True)
            )
            following[name] = block.attend(vectors, keys, values, biases[name])
        found = following
        if keep_context or not last:
            source = block.attend(source, *source_kv, source_bias)
            target = block.attend(target, *context, biases["context"])
        layers.append((source, target, found))
    return MultiFlowOutput(
        flows=found,
        source_BNH=source if keep_context else None,
        target_BMH=target if keep_context else None,
        all_layers=layers if keep_all_layers else [],
    )
