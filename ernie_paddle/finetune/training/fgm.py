"""Adversarial training with the fast gradient method (Miyato et al. 2017, "Adversarial Training Methods for
Semi-Supervised Text Classification", section 3).

The word vectors of a row, taken as one long vector s, are moved by r = epsilon · g / ‖g‖₂, where g is the gradient of
the row's loss with respect to s; the loss of the moved row is added to that of the row itself. r is a constant: no
gradient flows through it. The paper normalises the word vectors first; those of a trained model are left as they are,
so that epsilon is relative to their length.
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
    """These losses, and the same ones of the moved word vectors, called `adversarial_…`.

    Both passes draw their own dropout.

    Args:
        losses: of a model with `Embeddings`.
        epsilon: length of the move of each row, above 0.
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
    """What to add to word vectors.

    Args:
        terms: losses of rows. They are summed and not averaged: a row's direction does not depend on other rows, nor,
            where all terms have the same labels, on the number that they are divided by.
        vectors: word vectors [B, T, H] that the losses were computed from.
        epsilon: length of the result of each row, above 0; rows without a gradient (those without label) stay.

    Raises:
        UserError: the losses do not depend on the vectors in a way that gradients see.
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
