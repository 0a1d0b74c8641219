"""Adversarial training with the fast gradient method (Miyato et al. 2017, "Adversarial Training Methods for
Semi-Supervised Text Classification", section 3).

The word vectors of a row, taken as one long vector s, are moved by r = epsilon · g / ‖g‖₂, where g is the gradient of
the row's loss with respect to s; the loss of the moved row is added to that of the row itself. r is a constant: no
gradient flows through it. The paper normalizes the word vectors first; here the vectors of a trained model are not
changed, so epsilon is relative to their length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle

from ernie_paddle.finetune.training.rdrop import Losses
from ernie_paddle.models.embeddings import Embeddings
from propeller.errors import UserError
from propeller.graph import precision
from propeller.graph.losses import LossTerm
from propeller.values import Value

_LEAST = 1e-12


def with_fgm(losses: Losses, epsilon: float) -> Losses:
    """Add to these losses the same losses with perturbed word vectors, named `adversarial_…`.

    Both forward passes draw their own dropout.

    Args:
        losses: Losses of a model with `Embeddings`.
        epsilon: Norm of the perturbation of each row, above 0.
    """

    def both(layer: Any, values: Mapping[str, Value]) -> list[LossTerm]:
        words = [part.word for part in layer.sublayers() if isinstance(part, Embeddings)]
        seen: list[Value] = []
        hooks = [word.register_forward_post_hook(lambda _, __, out: seen.append(out)) for word in words]
        plain = losses(layer, values)
        for hook in hooks:
            hook.remove()

        moves = iter(perturbations(plain, seen, epsilon))
        hooks = [word.register_forward_post_hook(lambda _, __, out: out + next(moves)) for word in words]
        moved = losses(layer, values)
        for hook in hooks:
            hook.remove()
        return [*plain, *(LossTerm(f"adversarial_{t.name}", t.total, t.labels, t.weight) for t in moved)]

    return both


def perturbations(terms: list[LossTerm], vectors: list[Value], epsilon: float) -> list[Value]:
    """The perturbations of word vectors.

    Args:
        terms: Losses of rows. They are summed instead of averaged: the direction of a row does not depend on other
            rows, nor, if all terms have the same labels, on the number that they are divided by.
        vectors: Word vectors [B, T, H] from which the losses were computed.
        epsilon: Norm of the perturbation of each row, above 0; rows without a gradient (without a label) have none.

    Raises:
        UserError: The losses have no gradient with respect to the vectors.
    """
    with precision.float32():
        total = paddle.concat([term.total.reshape([1]) * term.weight for term in terms]).sum()
        moves = []
        for vector, gradient in zip(vectors, paddle.static.gradients([total], vectors), strict=True):
            if gradient is None:
                raise UserError("--fgm follows the gradient of the word embeddings, but this model does not train them")
            g = gradient.astype("float32")
            length = paddle.sqrt(paddle.square(g).sum([1, 2], keepdim=True))
            move = (g * (epsilon / paddle.maximum(length, paddle.full([1], _LEAST, "float32")))).astype(vector.dtype)
            move.stop_gradient = True
            moves.append(move)
    return moves
