"""Retrieval metrics of vectors: how well they find the partner of a text among all candidates, and chance values.

Shape suffixes: U distinct texts, H width, P pairs, Q queries, C candidates.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.finetune.networks.pooling import unit

RETRIEVAL = ("accuracy", "mrr")
_DIRECTIONS = ("a_to_b", "b_to_a")
_MOST_SCORES = 1 << 24
_ROUNDING = 1e-6
"""Cosines that differ by less count as equal: their last bits depend on the processor and the place in the batch."""


def retrieval_metrics(vectors_UH: NDArray[np.float32], pairs_P2: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy@1 and mean reciprocal rank of `ranks`, for each direction (`accuracy_a_to_b`, …) and their means."""
    both = [ranks(vectors_UH, pairs) for pairs in (pairs_P2, pairs_P2[:, ::-1])]
    return _together([(float((rank_Q == 1).mean()), float((1 / rank_Q).mean())) for rank_Q in both])


def chance_metrics(pairs_P2: NDArray[np.int64]) -> dict[str, float]:
    """The expected values of the same metrics if the candidates of a query are in random order."""
    both = []
    for pairs in (pairs_P2, pairs_P2[:, ::-1]):
        queries_P, candidates_P = np.unique(pairs, axis=0).T
        right_Q = np.unique(queries_P, return_counts=True)[1]
        n = len(np.unique(candidates_P))
        # The time for each value grows with the candidates, and most queries have equally many correct ones.
        rights, of_Q = np.unique(right_Q, return_inverse=True)
        reciprocal_Q = np.array([_reciprocal_by_chance(n, right) for right in rights])[of_Q]
        both.append((float((right_Q / n).mean()), float(reciprocal_Q.mean())))
    return _together(both)


def ranks(vectors_UH: NDArray[np.float32], pairs_P2: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank of the best correct candidate of each query, from 1: int64 [Q].

    Each distinct first text of the pairs is a query (in the order of their numbers), all distinct second texts are its
    candidates, and those in a pair with the query are correct. Candidates are ordered by their cosine with the query; a
    wrong one precedes a correct one of the same cosine (up to rounding), so that vectors that are all equal find
    nothing, and texts that the tokenizer cannot distinguish have the same rank on every processor.
    """
    queries_Q, query_P = np.unique(pairs_P2[:, 0], return_inverse=True)
    candidates_C, candidate_P = np.unique(pairs_P2[:, 1], return_inverse=True)
    found = np.empty(len(queries_Q), np.int64)
    for block, scores_BC in _scores(vectors_UH, queries_Q, candidates_C):
        inside_P = (query_P >= block.start) & (query_P < block.stop)
        right_BC = np.zeros(scores_BC.shape, np.bool_)
        right_BC[query_P[inside_P] - block.start, candidate_P[inside_P]] = True
        best_B = np.where(right_BC, scores_BC, -np.inf).max(axis=1)
        found[block] = 1 + ((scores_BC >= best_B[:, None] - _ROUNDING) & ~right_BC).sum(axis=1)
    return found


def nearest(
    vectors_UH: NDArray[np.float32], queries_Q: NDArray[np.int64], candidates_C: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The candidate with the largest cosine of each query (the first of several), and the cosine: [Q] both."""
    best_Q, cosine_Q = np.empty(len(queries_Q), np.int64), np.empty(len(queries_Q), np.float32)
    for block, scores_BC in _scores(vectors_UH, queries_Q, candidates_C):
        place_B = scores_BC.argmax(axis=1)
        best_Q[block], cosine_Q[block] = candidates_C[place_B], scores_BC[np.arange(len(place_B)), place_B]
    return best_Q, cosine_Q


def _scores(
    vectors_UH: NDArray[np.float32], queries_Q: NDArray[np.int64], candidates_C: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield cosines of a block of queries with all candidates, so that any number of texts fits in memory."""
    unit_UH = unit(vectors_UH)
    candidates_HC = unit_UH[candidates_C].T
    step = max(1, _MOST_SCORES // len(candidates_C))
    for start in range(0, len(queries_Q), step):
        block = slice(start, min(start + step, len(queries_Q)))
        yield block, unit_UH[queries_Q[block]] @ candidates_HC


def _reciprocal_by_chance(n: int, right: int) -> float:
    """The expected 1 / rank of the first of `right` among `n` in random order."""
    place = np.arange(1, n - right + 1)
    # The probability that the first correct one is at place k + 1 instead of k, given that it is at k or later.
    at = right / n * np.cumprod(np.concatenate([[1.0], (n - place - right + 1) / (n - place)]))
    return float((at / np.arange(1, len(at) + 1)).sum())


def _together(both: list[tuple[float, float]]) -> dict[str, float]:
    means = {name: (both[0][place] + both[1][place]) / 2 for place, name in enumerate(RETRIEVAL)}
    single = {
        f"{name}_{direction}": found[place]
        for place, name in enumerate(RETRIEVAL)
        for direction, found in zip(_DIRECTIONS, both, strict=True)
    }
    return {**means, **single}
