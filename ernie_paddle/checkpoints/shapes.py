"""The tensors that a configuration requires, and their comparison with those of a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ernie_paddle.checkpoints.heads import WEIGHT
from ernie_paddle.checkpoints.weights import Weights
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError

Shapes = dict[str, tuple[int, ...]]


def encoder_shapes(config: ErnieConfig) -> Shapes:
    """Shapes of the encoder's parameters by name, without the pooler."""
    width, inner = config.hidden_size, config.intermediate_size
    found: Shapes = {
        "ernie.embeddings.word_embeddings.weight": (config.vocab_size, width),
        "ernie.embeddings.position_embeddings.weight": (config.max_position_embeddings, width),
    }
    if config.type_vocab_size:
        found["ernie.embeddings.token_type_embeddings.weight"] = (config.type_vocab_size, width)
    if config.use_task_id:
        found["ernie.embeddings.task_type_embeddings.weight"] = (config.task_type_vocab_size, width)
    found |= _norm("ernie.embeddings.layer_norm", width)
    for layer in range(config.num_hidden_layers):
        name = f"ernie.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found |= _linear(f"{name}.self_attn.{part}", width, width)
        found |= _linear(f"{name}.linear1", width, inner) | _linear(f"{name}.linear2", inner, width)
        found |= _norm(f"{name}.norm1", width) | _norm(f"{name}.norm2", width)
    return found


def head_shapes(config: ErnieConfig) -> dict[str, Shapes]:
    """Shapes of the heads that a source may lack, by the name of the head."""
    width = config.hidden_size
    return {
        "pooler": _linear("ernie.pooler.dense", width, width),
        "MLM head": {
            **_linear("cls.predictions.transform", width, width),
            **_norm("cls.predictions.layer_norm", width),
            "cls.predictions.decoder_bias": (config.vocab_size,),
        },
        "NSP head": _linear("cls.seq_relationship", width, 2),
    }


def _linear(name: str, n_in: int, n_out: int) -> Shapes:
    return {f"{name}.weight": (n_in, n_out), f"{name}.bias": (n_out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


@dataclass(frozen=True)
class Comparison:
    """How the tensors of a source fit its configuration.

    Attributes:
        matched: Names with the shape that the configuration requires.
        missing: Missing names of the encoder, or of a head that is only partly there.
        absent: Heads that are missing as a whole.
        shape: (name, shape in the configuration, shape in the source).
        unexpected: Names that neither the encoder nor these heads have; they are kept as they are.
    """

    matched: list[str]
    missing: list[str]
    absent: list[str]
    shape: list[tuple[str, tuple[int, ...], tuple[int, ...]]]
    unexpected: list[str]

    @classmethod
    def of(cls, weights: Weights) -> Comparison:
        """Compare the weights with their configuration."""
        arrays, heads = weights.arrays, head_shapes(weights.config)
        absent = [head for head, shapes in heads.items() if not set(shapes) & set(arrays)]
        wanted = encoder_shapes(weights.config)
        for head, shapes in heads.items():
            if head not in absent:
                wanted |= shapes
        if weights.head is not None:
            wanted |= _linear("classifier", weights.config.hidden_size, arrays[WEIGHT].shape[-1])
        there = [name for name in wanted if name in arrays]
        return cls(
            matched=[name for name in there if arrays[name].shape == wanted[name]],
            missing=[name for name in wanted if name not in arrays],
            absent=absent,
            shape=[(n, wanted[n], arrays[n].shape) for n in there if arrays[n].shape != wanted[n]],
            unexpected=[name for name in arrays if name not in wanted],
        )

    def require_whole(self, weights: Weights) -> None:
        """Require that no tensor is missing or has another shape.

        Raises:
            UserError: A tensor is missing or has another shape.
        """
        if self.shape:
            name, wanted, found = self.shape[0]
            more = f" (and {len(self.shape) - 1} more of another shape)" if len(self.shape) > 1 else ""
            raise UserError(
                f"{weights.path}: {weights.sources[name]} has shape {list(found)}, but the configuration says "
                f"{list(wanted)}{more}; correct the configuration, or use the one that belongs to these weights"
            )
        if self.missing:
            raise UserError(
                f"{weights.path}: {len(self.missing)} tensors of the model are missing ({', '.join(self.missing[:3])}"
                f"{', …' if len(self.missing) > 3 else ''}); the download may be incomplete, or the configuration "
                "may be that of another model"
            )


def report(weights: Weights, comparison: Comparison) -> Iterator[str]:
    """A line for each tensor, the notes, and the totals."""
    width = max((len(name) for name in [*weights.arrays, *comparison.missing]), default=0)

    def line(name: str, fate: str) -> str:
        return f"{name:<{width}}  {list(weights.arrays[name].shape)!s:<14}  from {weights.sources[name]}: {fate}"

    yield from (line(name, "matched") for name in comparison.matched)
    yield from (line(name, "unexpected, kept as it is") for name in comparison.unexpected)
    yield from (line(name, f"shape: the configuration says {list(wanted)}") for name, wanted, _ in comparison.shape)
    yield from (f"{name:<{width}}  missing" for name in comparison.missing)
    for name, reason in weights.left_out.items():
        yield f"{name}: dropped, {reason}"
    yield from (f"note: no {head} in the source" for head in comparison.absent)
    yield from (f"note: {note}" for note in weights.notes)
    yield (
        f"{len(comparison.matched)} matched, {len(comparison.missing)} missing, {len(comparison.unexpected)} "
        f"unexpected, {len(comparison.shape)} of another shape, {len(weights.left_out)} dropped"
    )
