"""Metrics of rows that belong together, as the candidate answers of one question; all are "higher is better".

Shape suffixes: R rows, G groups.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.finetune.metrics.answer_metrics import answer_scores

GROUPED = ("mrr", "map", "group_exact", "top1")
TOP1_F1 = "top1_f1"


def group_numbers(columns: Sequence[Sequence[Any]]) -> NDArray[np.int64]:
    """Number of the group of each row, int64 [R]: rows are of one group if they have the same cells in all columns."""
    known: dict[tuple[str, ...], int] = {}
    keys = zip(*(map(str, cells) for cells in columns), strict=True)
    return np.fromiter((known.setdefault(key, len(known)) for key in keys), np.int64)


def group_metrics(
    groups: NDArray[np.int64],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    candidates: Sequence[Any] | None = None,
) -> dict[str, float]:
    """Means over the groups.

    Args:
        groups: of each row, [R], from `group_numbers`.
        labels: 1 for a right row, 0 for a wrong one, [R].
        scores: how much the model takes a row for right, [R]; a row above 0 is answered with 1. Rows with equal scores
            stay in the order of the table.
        candidates: what each row stands for, [R]; what is no text counts as JSON writes it.

    Returns:
        mrr: 1 / rank of the first right row (NLPCC-DBQA; 0 for a group without one, as ERNIE's release counts it).
        map: mean over the right rows of the share of right rows up to it; 0 for a group without one.
        group_exact: whether all rows are answered rightly (EM of MultiRC).
        top1: whether the first row is right; with `candidates`, whether its text is that of a right one but for
            capitals, articles and punctuation (EM of ReCoRD: of "US" and "the U.S." only one may be marked as right).
        top1_f1: with `candidates`, how many words the first row's has in common with the best of the right ones
            (F1 of ReCoRD, whose definition is that of SQuAD).
    """
    order = np.lexsort((-scores, groups))
    right_R = labels[order] == 1
    sizes_G = np.bincount(groups)
    starts_G = np.cumsum(sizes_G) - sizes_G
    ranks_R = np.arange(len(order)) - np.repeat(starts_G, sizes_G) + 1
    before_R = np.cumsum(right_R) - right_R
    seen_R = before_R - np.repeat(before_R[starts_G], sizes_G) + 1
    rights_G = np.add.reduceat(right_R, starts_G)
    precision_R = np.where(right_R, seen_R / ranks_R, 0.0)
    answered = (scores[order] > 0) == right_R
    found = {
        "mrr": np.maximum.reduceat(right_R / ranks_R, starts_G).mean(),
        "map": (np.add.reduceat(precision_R, starts_G) / np.maximum(rights_G, 1)).mean(),
        "group_exact": np.logical_and.reduceat(answered, starts_G).mean(),
        "top1": right_R[starts_G].mean(),
    }
    if candidates is not None:
        texts = [cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False) for cell in candidates]
        members = np.split(order, starts_G[1:])
        answers = [[texts[row] for row in rows[labels[rows] == 1]] for rows in members]
        chosen = [texts[row] for row in order[starts_G]]
        # Without a right row nothing is right, not even a candidate of which the definition leaves nothing.
        exact_G, f1_G = (answer_scores(chosen, answers, "squad") * (rights_G > 0)[:, None]).T
        found |= {"top1": exact_G.mean(), TOP1_F1: f1_G.mean()}
    return {name: float(value) for name, value in found.items()}
