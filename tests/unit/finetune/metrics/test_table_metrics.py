"""Metrics against published-style goldens and against their definitions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.finetune.metrics.table_metrics import classification_metrics, regression_metrics


def test_goldens(test_data: Path) -> None:
    lines = (test_data / "golden" / "glue_metrics.jsonl").read_text().splitlines()
    checked = 0
    for line in lines:
        case = json.loads(line)
        labels, predictions = np.asarray(case["labels"]), np.asarray(case["preds"])
        if "pearson" in case:
            ours = regression_metrics(labels, predictions)
            pairs = [("pearson", "pearson"), ("spearman", "spearmanr")]
        else:
            ours = classification_metrics(labels, predictions, len(set(labels.tolist())))
            pairs = [("accuracy", "acc"), ("mcc", "mcc"), ("f1", "f1"), ("f1", "macro_f1")]
        for name, key in pairs:
            if key in case:
                assert ours[name] == pytest.approx(case[key], abs=1e-12), (name, case["task"])
                checked += 1
    assert checked == 7 * 3 + 2 + 2 * 2


def test_definitions() -> None:
    labels, predictions = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 1, 1, 1, 0, 0])
    tp, fp, fn, tn = 2, 1, 1, 2
    found = classification_metrics(labels, predictions, 2)
    assert found["accuracy"] == pytest.approx((tp + tn) / 6)
    assert found["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    mcc = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert found["mcc"] == pytest.approx(mcc)


def test_constant_answers_score_zero() -> None:
    assert classification_metrics(np.array([0, 1, 1]), np.array([1, 1, 1]), 2)["mcc"] == 0
    assert regression_metrics(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])) == {"pearson": 0, "spearman": 0}


def test_class_that_never_occurs_counts_in_macro_f1() -> None:
    found = classification_metrics(np.array([0, 1]), np.array([0, 1]), 3)
    assert found["f1"] == pytest.approx(2 / 3)
