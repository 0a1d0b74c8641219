"""Multi-flow pre-training (ERNIE-GEN, sections 3.1 to 3.4): the target fragments of a text are generated from the rest.

Shape suffixes: B rows, N source slots, M target slots, K target tokens of the micro-batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.models.inputs import TASK_IDS, tokens_input
from ernie_paddle.objectives.base import Heads, Objective, ObjectiveSettings
from ernie_paddle.objectives.rows import Batch, Data
from ernie_paddle.objectives.shared.loss_terms import classification
from propeller.errors import UserError
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays, Value
from reader.batches.fragments import FragmentRule, sample_fragments
from reader.flags import unit_starts
from reader.lengths import padded_length
from reader.random import generator

if TYPE_CHECKING:
    from paddle import nn

    from ernie_paddle.models.config import ErnieConfig
    from ernie_paddle.models.encoder import Encoder
    from ernie_paddle.models.multi_flow import MultiFlowOutput

ATTN_PIECE = "[ATTN]"
"""The piece of ERNIE-GEN that asks for the next token."""
_ROLES = ("ids", "segments", "positions", "mask")
_FLOW_INPUTS = (
    *(f"{side}_{role}" for side in ("source", "target") for role in _ROLES), "attn_ids", "span_starts"
)  # fmt: skip
POSITIONS, LABELS = "multi_flow_target_tokens", "multi_flow_labels"
_MULTIPLE = 8


@dataclass(frozen=True)
class MultiFlowSettings(ObjectiveSettings):
    """Settings of multi-flow pre-training.

    Attributes:
        budget: Share of the tokens of a row that become the target (γ in section 3.1).
        noise: Probability that a target token which the flows read is replaced by another word (ρ_p in section 3.2).
        word_by_word: Weight of the loss of the word-by-word flow (λ in section 3.4); the span-by-span flow has the
            rest. A flow without weight is not computed.
        attn_token: Piece that asks for the next token; none: [ATTN] if the vocabulary has it, else [MASK] as in the
            release.
    """

    budget: float = 0.25
    noise: float = 0.05
    word_by_word: float = 0.5
    attn_token: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.budget < 1:
            raise ValueError(f"budget must lie between 0 and 1, found {self.budget}")
        for name in ("noise", "word_by_word"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, found {getattr(self, name)}")


class MultiFlow(Objective[MultiFlowSettings]):
    """Generate fragments of a text from the rest of it, word by word and span by span.

    A quarter of the tokens, in fragments, is removed from the text and stitched together in the order of the text
    (section 3.1). What is left is the source ``[CLS] S' [SEP]``; the fragments and a closing [SEP] are the target,
    whose positions continue after the source. Spans are the phrases and words of the prepared corpus; a fragment begins
    a span. Target tokens that the flows read, except the closing [SEP], are replaced with probability ``noise`` by any
    piece of the vocabulary that is not a special one (section 3.2); the labels remain the true tokens.
    """

    name = "multi_flow"
    summary = "ERNIE-GEN: generate fragments of the text from the rest, word by word and span by span"
    settings_type = MultiFlowSettings
    arranges = True
    exclusive = True

    @property
    def flows(self) -> dict[str, float]:
        """The weight of each flow with a weight, by name."""
        share = self.settings.word_by_word
        return {name: weight for name, weight in (("word", share), ("span", 1 - share)) if weight > 0}

    @property
    def max_parts(self) -> int:
        """The source and the target."""
        return 2

    @property
    def inputs(self) -> Sequence[Input]:
        """The inputs of the flows int64 [B, N] and [B, M], and flat positions b*M + m and labels of targets [K]."""
        return [
            *(tokens_input(f"{self.name}_{name}") for name in _FLOW_INPUTS),
            Input(POSITIONS, (None,), "int64"),
            Input(LABELS, (None,), "int64", ignore=IGNORE),
        ]

    def _bind(self, data: Data) -> None:
        """Set the ids of [ATTN] and of the pieces that may replace others."""
        piece = self.settings.attn_token
        if piece is not None and piece not in data.vocab.ids:
            raise UserError(f"{self.name}: attn_token is {piece!r}, which is no piece of the vocabulary")
        self._attn = data.vocab.ids[piece] if piece else data.vocab.ids.get(ATTN_PIECE, data.vocab.mask)
        self._words = np.setdiff1d(np.arange(data.vocab.size), [*data.vocab.special_ids, self._attn])
        if self.settings.noise and not len(self._words):
            raise UserError(f"{self.name}: the vocabulary has no piece besides the special ones")
        self._rule = FragmentRule(budget=self.settings.budget)

    def label(self, batch: Batch) -> Arrays:
        """Divide every row into source and target."""
        vocab = batch.data.vocab
        sources: list[NDArray[np.int64]] = []
        targets: list[NDArray[np.int64]] = []
        read: list[NDArray[np.int64]] = []
        spans: list[NDArray[np.int64]] = []
        for number, (row, tokens) in enumerate(zip(batch.rows, batch.tokens, strict=True)):
            ids, begins = batch.ids[number, tokens], unit_starts(batch.flags[number, tokens], "phrase")
            drawn = generator(int(batch.keys[number]), self.name)
            starts, lengths = sample_fragments(len(ids), self._rule, drawn)
            taken = np.zeros(len(ids), np.bool_)
            taken[np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())] = True
            begins[starts] = True
            sources.append(np.concatenate([[vocab.cls], ids[~taken], [vocab.sep]]))
            targets.append(np.append(ids[taken], vocab.sep))
            # The closing [SEP] is a span of its own.
            begins_M = np.append(begins[taken], True)
            spans.append(np.maximum.accumulate(np.where(begins_M, np.arange(len(begins_M)), 0)))
            if not len(starts):
                row.note(f"{self.name}: a row of one token, which is not generated")
            noised = np.append(drawn.random(len(begins_M) - 1) < self.settings.noise, False)
            words = drawn.choice(self._words, size=len(noised)) if self.settings.noise else targets[-1]
            read.append(np.where(noised, words, targets[-1]))

        n_source, n_target = np.array([[len(s), len(t)] for s, t in zip(sources, targets, strict=True)]).T
        source = np.arange(padded_length(int(n_source.max()), _MULTIPLE))
        target = np.arange(padded_length(int(n_target.max()), _MULTIPLE))
        source_real, target_real = source < n_source[:, None], target < n_target[:, None]

        def padded(parts: list[NDArray[np.int64]], real: NDArray[np.bool_], pad: int) -> NDArray[np.int64]:
            array = np.full(real.shape, pad, np.int64)
            array[real] = np.concatenate(parts)
            return array

        segment = batch.data.target_segment
        arrays = {
            "source_ids": padded(sources, source_real, vocab.pad),
            "source_segments": np.zeros(source_real.shape, np.int64),
            "source_positions": np.where(source_real, source, 0),
            "source_mask": source_real.astype(np.int64),
            "target_ids": padded(read, target_real, vocab.pad),
            "target_segments": np.full(target_real.shape, segment, np.int64),
            "target_positions": np.where(target_real, n_source[:, None] + target, 0),
            "target_mask": target_real.astype(np.int64),
            "attn_ids": np.full(target_real.shape, self._attn, np.int64),
            "span_starts": padded(spans, target_real, 0),
        }
        found: Arrays = {f"{self.name}_{name}": array for name, array in arrays.items()}
        found[POSITIONS], found[LABELS] = np.flatnonzero(target_real), np.concatenate(targets)
        return found

    def heads(self, config: ErnieConfig, encoder: Encoder) -> Mapping[str, nn.Layer]:
        """The MLM head, tied to the word embedding: one set of parameters for all flows."""
        from ernie_paddle.models.heads import MaskedLMHead

        return {"mlm": MaskedLMHead(config, encoder.embeddings.word.weight)}

    def encode(self, encoder: Encoder, feeds: Mapping[str, Value]) -> MultiFlowOutput:
        """Run the flows that have a weight."""
        from ernie_paddle.models.multi_flow import encode_flows

        own: dict[str, Any] = {name: feeds[f"{self.name}_{name}"] for name in _FLOW_INPUTS}
        if TASK_IDS.name in feeds:
            own[TASK_IDS.name] = feeds[TASK_IDS.name]
        return encode_flows(encoder, own, tuple(self.flows))

    def loss(self, heads: Heads, outputs: MultiFlowOutput, feeds: Mapping[str, Value]) -> Sequence[LossTerm]:
        """Cross-entropy over the target tokens in each flow, weighted by λ and 1 - λ (section 3.4)."""
        from ernie_paddle.models.heads import gather_positions

        terms = []
        for flow, weight in self.flows.items():
            logits_KV = heads["mlm"](gather_positions(outputs.flows[flow], feeds[POSITIONS]))
            name = f"{self.name}_{flow}"
            terms.append(classification(name, logits_KV, feeds[LABELS], LABELS, self.settings.weight * weight))
        return terms
