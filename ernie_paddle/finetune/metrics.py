"""Metrics of downstream tasks, by scikit-learn and SciPy; all are "higher is better"."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

CLASSIFICATION = ("accuracy", "f1", "mcc")
REGRESSION = ("pearson", "spearman")


def classification_metrics(labels: NDArray[Any], predictions: NDArray[Any], n_classes: int) -> dict[str, float]:
    """Accuracy, F1 and Matthews correlation.

    Args:
        labels: class numbers, [R].
        predictions: class numbers, [R].
        n_classes: with two classes F1 is that of class 1 (as in GLUE); with more it is the mean over the classes.
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
    """Pearson and Spearman correlation; 0 where one side is constant, as a constant answer tells nothing."""
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(predictions) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    with warnings.catch_warnings():
        # Nearly constant answers give a warning and a number that is not one.
        warnings.simplefilter("ignore")
        found = {
            "pearson": float(stats.pearsonr(scores, predictions).statistic),
            "spearman": float(stats.spearmanr(scores, predictions).statistic),
        }
    return {name: value if np.isfinite(value) else 0.0 for name, value in found.items()}
