"""Metrics of groups of rows, such as the candidate answers of one question; all are "higher is better".

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
    """Number of the group of each row, int64 [R]; rows with equal cells in all columns form a group."""
    known: dict[tuple[str, ...], int] = {}
    keys = zip(*(map(str, cells) for cells in columns), strict=True)
    return np.fromiter((known.setdefault(key, len(known)) for key in keys), np.int64)


def group_metrics(
    groups: NDArray[np.int64],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    candidates: Sequence[Any] | None = None,
) -> dict[str, float]:
    """Means of the metrics over the groups.

    Args:
        groups: Group number of each row, [R], from `group_numbers`.
        labels: 1 for a correct row, 0 for a wrong one, [R].
        scores: Scores of the rows, [R]; a row above 0 is predicted as 1. Rows with equal scores keep the order of the
            table.
        candidates: Candidate of each row, [R]; a candidate that is not a text counts as its JSON.

    Returns:
        mrr: 1 / rank of the first correct row (NLPCC-DBQA; 0 for a group without one, as in ERNIE's release).
        map: Mean over the correct rows of the precision up to each; 0 for a group without one.
        group_exact: Whether all predictions of the group are correct (EM of MultiRC).
        top1: Whether the first row is correct; with `candidates`, whether its text equals that of a correct row except
            for capitals, articles and punctuation (EM of ReCoRD: of "US" and "the U.S." only one may be marked as
            correct).
        top1_f1: With `candidates`, the word overlap of the first row with the best correct row (F1 of ReCoRD, which is
            defined as for SQuAD).
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
        # In a group without a correct row nothing is correct, not even a candidate that is empty after normalization.
        exact_G, f1_G = (answer_scores(chosen, answers, "squad") * (rights_G > 0)[:, None]).T
        found |= {"top1": exact_G.mean(), TOP1_F1: f1_G.mean()}
    return {name: float(value) for name, value in found.items()}
