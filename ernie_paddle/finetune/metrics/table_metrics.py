"""Metrics of downstream tasks, computed with scikit-learn, SciPy and seqeval; all are "higher is better"."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

CLASSIFICATION = ("accuracy", "f1", "mcc")
REGRESSION = ("pearson", "spearman")
ENTITIES = ("f1", "precision", "recall", "accuracy")


def classification_metrics(labels: NDArray[Any], predictions: NDArray[Any], n_classes: int) -> dict[str, float]:
    """Accuracy, F1 and Matthews correlation.

    Args:
        labels: Class numbers, [R].
        predictions: Class numbers, [R].
        n_classes: With two classes, F1 is that of class 1 (as in GLUE); with more, it is the mean over the classes.
    """
    if n_classes == 2:
        f1 = metrics.f1_score(labels, predictions, pos_label=1, average="binary", zero_division=0)
    else:
        f1 = metrics.f1_score(labels, predictions, labels=np.arange(n_classes), average="macro", zero_division=0)
    return {
        "accuracy": float(metrics.accuracy_score(labels, predictions)),
        "f1": float(f1),
        "mcc": float(metrics.matthews_corrcoef(labels, predictions)),
    }


def regression_metrics(scores: NDArray[Any], predictions: NDArray[Any]) -> dict[str, float]:
    """Pearson and Spearman correlation; 0 if one side is constant, as a constant prediction has no correlation."""
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(predictions) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    with warnings.catch_warnings():
        # Nearly constant predictions give a warning and NaN.
        warnings.simplefilter("ignore")
        found = {
            "pearson": float(stats.pearsonr(scores, predictions).statistic),
            "spearman": float(stats.spearmanr(scores, predictions).statistic),
        }
    return {name: value if np.isfinite(value) else 0.0 for name, value in found.items()}


def entity_metrics(tags: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and F1 of whole entities, over all and by type (`f1_PER`), and the accuracy of the tags.

    Args:
        tags: Tags of each token of each sentence.
        predictions: Predicted tags of each token of each sentence.

    Entities are defined as in conlleval (CoNLL-2000), like seqeval's default mode.
    """
    from seqeval.metrics import accuracy_score
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    truth, found = list(map(list, tags)), list(map(list, predictions))
    scores = {"accuracy": float(accuracy_score(truth, found))}
    precision, recall, f1, _ = precision_recall_fscore_support(truth, found, average="micro", zero_division=0)
    overall = {"f1": float(f1), "precision": float(precision), "recall": float(recall)}
    by_type = precision_recall_fscore_support(truth, found, average=None, zero_division=0)[2]
    types = sorted({tag.partition("-")[2] or "_" for sentence in (*truth, *found) for tag in {*sentence} - {"O"}})
    return {**overall, **scores, **{f"f1_{name}": float(score) for name, score in zip(types, by_type, strict=True)}}
