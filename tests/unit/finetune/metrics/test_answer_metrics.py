"""Exact match and F1 of answers: published numbers, the definitions by hand, and the threshold of "no answer"."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_paddle.finetune.metrics.answer_metrics import SCORINGS, answer_metrics, answer_scores, best_threshold


def load(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def references(path: Path) -> dict[str, list[str]]:
    return {
        question["id"]: [answer["text"] for answer in question["answers"]]
        for article in load(path)["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }


def scored(predictions: dict[str, str], wanted: dict[str, list[str]], scoring: str) -> dict[str, float]:
    texts = [predictions.get(name, "") for name in wanted]
    return answer_metrics(answer_scores(texts, list(wanted.values()), scoring), np.ones(len(wanted), np.bool_))


@pytest.mark.parametrize("system", ["bert", "logistic_regression_baseline"])
def test_squad_numbers_of_published_systems(test_data: Path, system: str) -> None:
    golden = test_data / "golden" / "squad_v1.1"
    wanted = json.loads((golden / "scores_partA.json").read_text())[system]
    answers = references(test_data / "squad" / "dev-v1.1-partA.json.gz")
    found = scored(load(golden / f"pred_partA_{system}.json.gz"), answers, "squad")
    assert len(answers) == wanted["total"]
    assert found == pytest.approx({name: wanted[name] for name in ("exact_match", "f1")}, abs=1e-10)


def test_cmrc2018_numbers_of_the_published_script(test_data: Path) -> None:
    golden = test_data / "golden" / "cmrc2018"
    wanted = json.loads((golden / "scores.json").read_text())
    answers = references(test_data / "zh" / "cmrc2018" / "trial.json.gz")
    found = scored(load(golden / "predictions.json.gz"), answers, "cmrc2018")
    assert len(answers) == wanted["total"]
    assert found == pytest.approx({"exact_match": wanted["em"], "f1": wanted["f1"]}, abs=1e-10)


@pytest.mark.parametrize(
    ("scoring", "prediction", "answers", "exact", "f1"),
    [
        ("squad", "The  Cat's", ["cats"], 1, 1),
        ("squad", "a big cat", ["an old cat", "big dogs"], 0, 0.5),
        ("squad", "cat cat", ["cat"], 0, 2 / 3),
        ("squad", "", ["the"], 1, 0),
        ("squad2", "", ["the"], 1, 1),
        ("squad2", "", [], 1, 1),
        ("squad2", "cat", [], 0, 0),
        ("squad2", "", ["cat"], 0, 0),
        ("mlqa_de", "das „Haus“", ["Haus"], 1, 1),
        ("mlqa_en", "das „Haus“", ["Haus"], 0, 2 / 3),
        ("mlqa_es", "El perro", ["un perro"], 1, 1),
        ("mlqa_vi", "con mèo", ["những con mèo"], 1, 1),
        ("mlqa_ar", "البيت", ["بيت"], 1, 1),
        ("mlqa_hi", "the घर", ["घर"], 0, 2 / 3),
        ("mlqa_zh", "北京 2008年", ["北京2008年"], 1, 1),
        ("mlqa_zh", "北京。", ["南京"], 0, 0.5),
        # The longest run of characters in common: 3 of 4 and of 5.
        ("cmrc2018", "北京奥运", ["在北京奥会"], 0, 2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5)),
        ("cmrc2018", "《北京》。", ["北京"], 1, 1),
        # Runs must be unbroken: only one of two characters each.
        ("cmrc2018", "北京", ["北方京"], 0, 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)),
        ("cmrc2018", "ERNIE模型", ["ernie 模型"], 0, 1),
    ],
)
def test_definitions(scoring: str, prediction: str, answers: list[str], exact: float, f1: float) -> None:
    assert answer_scores([prediction], [answers], scoring)[0] == pytest.approx([exact, f1])


@pytest.mark.parametrize("scoring", SCORINGS)
def test_a_right_answer_has_full_marks_in_every_definition(scoring: str) -> None:
    texts = ["42 km/h", "北京大学", "der Zug", "البيت الأبيض", "घर"]
    assert answer_scores(texts, [[text] for text in texts], scoring).tolist() == [[1, 1]] * 5


def test_means_over_all_questions_and_over_both_kinds() -> None:
    scores = np.array([[1, 1], [0, 0.5], [1, 1], [0, 0]])
    assert answer_metrics(scores, np.ones(4, np.bool_)) == {"exact_match": 50.0, "f1": 62.5}
    assert answer_metrics(scores, np.array([True, True, False, False])) == {
        "exact_match": 50.0,
        "f1": 62.5,
        "answerable_exact_match": 50.0,
        "answerable_f1": 75.0,
        "unanswerable_exact_match": 50.0,
        "unanswerable_f1": 50.0,
    }


ROWS = st.lists(st.tuples(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), st.integers(-3, 3)), min_size=1, max_size=12)


@given(rows=ROWS)
def test_the_threshold_is_the_best_of_all(rows: list[tuple[float, int]]) -> None:
    gains, no_answer = (np.array(column, np.float64) for column in zip(*rows, strict=True))

    def total(threshold: float) -> float:
        return float(gains[no_answer <= threshold].sum())

    found = best_threshold(gains, no_answer)
    best = max(0.0, *map(total, no_answer))
    assert total(found) == best
    if best == 0:
        assert found < no_answer.min()
    else:
        answered = min(level for level in no_answer if total(level) == best)
        above = no_answer[no_answer > answered]
        assert found == ((answered + above.min()) / 2 if above.size else answered + 1)


@given(rows=ROWS, noise=st.integers(0, 2**32 - 1))
def test_rounding_of_the_scores_moves_no_question_across_the_threshold(
    rows: list[tuple[float, int]], noise: int
) -> None:
    gains, no_answer = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    rounded = no_answer + np.random.default_rng(noise).uniform(-1e-6, 1e-6, len(no_answer))
    found = best_threshold(gains, no_answer)
    assert ((no_answer > found) == (rounded > found)).all()
    again = best_threshold(gains, rounded)
    assert again == pytest.approx(found, abs=2e-6)
    assert ((no_answer > again) == (no_answer > found)).all()
