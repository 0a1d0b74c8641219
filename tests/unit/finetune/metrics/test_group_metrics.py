"""Metrics of groups against slow direct computations of their definitions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ernie_paddle.finetune.metrics.group_metrics import group_metrics, group_numbers

WORDS = ("oslo", "the oslo", "Oslo.", "Reed", "Tom Reed", "Ann", "the")


def words(text: str) -> list[str]:
    """What SQuAD's definition compares of these texts."""
    return [word for word in text.lower().replace(".", "").split() if word != "the"]


def f1(found: str, wanted: str) -> float:
    """F1 of words as SQuAD has it."""
    a, b = words(found), words(wanted)
    same = sum((Counter(a) & Counter(b)).values())
    return 0.0 if same == 0 else 2 * same / (len(a) + len(b))


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[str, int, float, str]]:
    """Rows (question, label, score, candidate); scores are of few values, so that there are ties."""
    row = st.tuples(
        st.sampled_from("abcd"), st.integers(0, 1), st.sampled_from([-1.0, -0.5, 0.5, 1.0]), st.sampled_from(WORDS)
    )
    return draw(st.lists(row, min_size=1, max_size=20))


@given(rows=tables())
def test_all_equal_a_loop_over_questions(rows: list[tuple[str, int, float, str]]) -> None:
    wanted: dict[str, list[float]] = {name: [] for name in ("mrr", "map", "group_exact", "top1", "top1_f1")}
    for question in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == question]
        ranked = sorted(own, key=lambda row: -row[2])
        places = [place for place, row in enumerate(ranked, 1) if row[1]]
        wanted["mrr"].append(1 / places[0] if places else 0)
        wanted["map"].append(sum(n / place for n, place in enumerate(places, 1)) / len(places) if places else 0)
        wanted["group_exact"].append(all((row[2] > 0) == bool(row[1]) for row in own))
        wanted["top1"].append(any(words(ranked[0][3]) == words(row[3]) for row in own if row[1]))
        wanted["top1_f1"].append(max((f1(ranked[0][3], row[3]) for row in own if row[1]), default=0))
    questions, labels, scores, candidates = zip(*rows, strict=True)
    groups = group_numbers([questions])
    found = group_metrics(groups, np.array(labels), np.array(scores), candidates)
    assert found == pytest.approx({name: np.mean(values) for name, values in wanted.items()})
    rows_right = [
        sorted((-row[2], n, row[1]) for n, row in enumerate(rows) if row[0] == q)[0][2] for q in set(questions)
    ]
    assert group_metrics(groups, np.array(labels), np.array(scores))["top1"] == pytest.approx(np.mean(rows_right))


def test_another_name_of_the_answer_is_the_answer() -> None:
    """As the published script of ReCoRD has it: the marked row is `US`, and the model chooses `the U.S.`."""
    found = group_metrics(np.zeros(2, np.int64), np.array([0, 1]), np.array([1.0, 0.0]), ["the U.S.", "US"])
    assert (found["top1"], found["top1_f1"]) == (1, 1)
    assert group_metrics(np.zeros(2, np.int64), np.array([0, 1]), np.array([1.0, 0.0]))["top1"] == 0


def test_candidates_may_be_numbers() -> None:
    """As JSON has them: they are what JSON writes, also next to texts."""
    groups, labels, scores = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([1.0, 0.0, 1.0, 0.0])
    for candidates, wanted in (
        ([5, 7, 2.5, True], 0),
        ([5, 5, 2.5, True], 0.5),
        ([5, "5", "true", True], 1),
        (["5", "5", "True", "true"], 1),
    ):
        found = group_metrics(groups, labels, scores, candidates)
        assert (found["top1"], found["top1_f1"]) == (wanted, wanted)


def test_map_is_the_average_precision_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    groups, labels, scores = rng.integers(0, 9, 200), rng.integers(0, 2, 200), rng.normal(size=200)
    numbers = group_numbers([groups.tolist()])
    each = [average_precision_score(labels[groups == group], scores[groups == group]) for group in range(9)]
    assert group_metrics(numbers, labels, scores)["map"] == pytest.approx(np.mean(each))


def test_groups_are_told_apart_by_all_columns() -> None:
    assert group_numbers([[1, 1, 2, 1], [7, 8, 7, 7]]).tolist() == [0, 1, 2, 0]
