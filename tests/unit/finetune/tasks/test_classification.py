"""Task types: labels, bad rows with file and line, scores and answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.finetune.options import read_finetune_options
from ernie_paddle.finetune.task_type import task_class, task_from_dict
from ernie_paddle.finetune.tasks.classification import Classification, discover_labels
from ernie_paddle.finetune.tasks.regression import Regression
from propeller.errors import UserError
from reader.errors import DataError
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

COMMON = {"text_a": "a", "text_b": None, "label": "label", "max_length": 16, "header": True}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "x", "y", "z"]) + "\n")
    return load_tokenizer(path)


def classification(**changes: object) -> Classification:
    return Classification(**{**COMMON, "metric": "accuracy", "labels": ("no", "yes"), **changes})  # type: ignore[arg-type]


def regression(**changes: object) -> Regression:
    return Regression(**{**COMMON, "metric": "pearson", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "content", "line", "message"),
    [
        (
            classification(),
            "a\tlabel\nx\tyes\nx\tmaybe\n",
            3,
            "unknown label 'maybe'; the labels are no, yes .from --labels",
        ),
        (classification(), "a\tlabel\nx\tyes\n\nx\tno\n", 3, "empty line"),
        (classification(), "a\tlabel\nx\t\n", 2, "the label is missing"),
        (classification(), "a\tlabel\n \tyes\n", 2, "text_a .'a'. is empty"),
        (classification(), "a\tlabel\nx\tyes\nx\n", 3, "1 columns where the header has 2"),
        (classification(text_b="b"), "a\tb\tlabel\nx\t\tyes\n", 2, "text_b .'b'. is empty"),
        (regression(), "a\tlabel\nx\t1.5\ny\tnan\n", 3, "the score is nan; it must be a finite number"),
        (regression(), "a\tlabel\nx\t1e999\n", 2, "it must be a finite number"),
        (regression(), "a\tlabel\nx\thigh\n", 2, "'high' is not a number"),
        (regression(), "a\tlabel\nx\t\n", 2, "the score is missing"),
        (classification(), b"a\tlabel\nx\tyes\ncaf\xe9\tno\n", 3, "not UTF-8; convert"),
    ],
)
def test_bad_rows_are_refused_with_file_and_line(
    tmp_path: Path, tokenizer: Tokenizer, task: Classification, content: str | bytes, line: int, message: str
) -> None:
    path = tmp_path / "table.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as error:
        task.read(path, tokenizer, labelled=True, strict=True)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert str(error.value).endswith("; fix the table, or skip such rows with --skip_unusable")


def test_other_unusable_tables(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("a\tlabel\n")
    with pytest.raises(DataError, match="no rows"):
        classification().read(path, tokenizer, labelled=True, strict=True)
    with pytest.raises(DataError, match="no column 'text'"):
        classification(text_a="text").read(path, tokenizer, labelled=True, strict=True)
    path.write_text("a\tlabel\nx\tmaybe\nx\tyes\n\nx\tnever\n")
    with pytest.raises(DataError, match="and 2 more rows that cannot be used"):
        classification().read(path, tokenizer, labelled=True, strict=True)
    json_path = tmp_path / "table.jsonl"
    json_path.write_text(
        '{"a": "x", "label": "yes"}\n{"a": 3, "label": "yes"}\n{"label": "no"}\n{"a": "x", "label": []}\n'
    )
    data = classification().read(json_path, tokenizer, labelled=True, strict=False)
    assert data.lines == [1]
    assert [line for line, _ in data.problems] == [2, 3, 4]
    assert "not a text but int" in data.problems[0][1]
    assert "text_a is missing" in data.problems[1][1]
    assert "found list" in data.problems[2][1]


def test_labels_are_discovered_in_a_fixed_order(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a\tlabel\n" + "".join(f"x\t{label}\n" for label in ["10", "2", "-1", "2"]))
    assert discover_labels(str(path), "label", "auto", True) == ["-1", "2", "10"]
    path.write_text("a\tlabel\n" + "".join(f"x\t{label}\n" for label in ["b", "10", "a", "2"]))
    assert discover_labels(str(path), "label", "auto", True) == ["10", "2", "a", "b"]
    json_path = tmp_path / "t.jsonl"
    json_path.write_text("".join(json.dumps({"a": "x", "label": label}) + "\n" for label in [1, 0, True]))
    assert discover_labels(str(json_path), "label", "auto", True) == ["0", "1", "true"]
    path.write_text("a\tlabel\nx\tsame\nx\tsame\n")
    with pytest.raises(DataError, match="1 label"):
        discover_labels(str(path), "label", "auto", True)


def test_labels_that_say_that_there_is_none(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """OCNLI's rows on which annotators did not agree: in no label, no row, no problem."""
    path = tmp_path / "t.tsv"
    path.write_text("a\tlabel\nx\tyes\ny\t-\nz\tno\n \t-\n")
    assert discover_labels(str(path), "label", "auto", True, ("a", None), no_label=["-"]) == ["no", "yes"]
    task = classification(no_label=("-",))
    data = task.read(path, tokenizer, labelled=True, strict=True)
    assert (data.lines, data.unlabelled, data.uncounted, data.problems) == ([2, 4], 2, 2, [])
    assert data.describe() == "2 rows (2 skipped: their label is -)"
    unlabelled = task.read(path, tokenizer, labelled=False, strict=False)
    assert (unlabelled.lines, unlabelled.uncounted) == ([2, 3, 4], 1), "without labels every row is answered"
    scores = regression(no_label=("-",))
    path.write_text("a\tlabel\nx\t1.5\ny\t-\n")
    assert scores.read(path, tokenizer, labelled=True, strict=True).lines == [2]
    with pytest.raises(UserError, match="--no_label no: this is one of the labels"):
        classification(no_label=("-", "no"))


def test_looking_for_labels_reports_the_first_unusable_row(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    for content, message in [
        (b"a\tlabel\n", ": no rows"),
        (b"a\tlabel\ncaf\xe9\tyes\nna\xefve\tno\n", ":2: column 'a' is not UTF-8; convert .* .and 1 more row that"),
        (b"a\tlabel\nx\tyes\n \tyes\nx\t\nx\n", ":3: text_a .'a'. is empty .and 2 more rows that"),
        (b"a\tlabel\nx\t\n \tyes\n", ":2: column 'label': the label is missing .and 1 more row that"),
        (b"a\tl\xe9\n", ":1: the header is not UTF-8; convert"),
        (b"x\tyes\ny\tno\n", ":1: there is no column 'a'; columns: x, yes; the first row must name the columns"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            discover_labels(str(path), "label", "auto", True, ("a", None))
    path.write_text("a\tlabel\nx\n\tyes\n")
    with pytest.raises(DataError, match=r": nothing in it is usable; the first problem is in line 2: 1 columns where"):
        discover_labels(str(path), "label", "auto", True, ("a", None), skip_unusable=True)


def test_settings_survive_json() -> None:
    changed = classification(text_b="b", labels=("ä", "b", "c"), no_label=("-",))
    for task in (changed, regression(max_length=77)):
        assert task_from_dict(json.loads(json.dumps(task.to_dict())), "task.json") == task


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UserError, match="metric 'acc' is not a metric of classification: accuracy, f1, mcc"):
        classification(metric="acc")
    with pytest.raises(UserError, match="at least two labels"):
        classification(labels=("only",))
    with pytest.raises(UserError, match="did you mean 'regression'"):
        task_class("regresion")
    with pytest.raises(UserError, match=r"--labels is for classification, .*; remove it for --type regression"):
        read_finetune_options({"type": "regression", "train": "t", "dev": "d", "output": "o", "labels": ["a", "b"]})
    with pytest.raises(UserError, match="finetune: unknown option 'epoch'; did you mean 'epochs'"):
        read_finetune_options({"train": "t", "dev": "d", "output": "o", "epoch": 3})
    with pytest.raises(UserError, match="finetune: dev is missing"):
        read_finetune_options({"train": "t", "output": "o"})
    with pytest.raises(UserError, match="finetune: epochs=0: '0' is not a whole number of at least 1"):
        read_finetune_options({"train": "t", "dev": "d", "output": "o", "epochs": 0})


def test_scores_answers_and_baseline(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a\tlabel\nx\tyes\ny\tno\nz\tyes\n")
    task = classification()
    data = task.read(path, tokenizer, labelled=True, strict=True)
    logits = np.array([[0.0, 1.0], [0.0, 2.0], [-1.0, 3.0]], np.float32)
    scores = task.score({"logits": logits}, data)
    assert scores["accuracy"] == pytest.approx(2 / 3)
    wanted = -np.mean([1 - np.log(1 + np.e), -np.log(1 + np.exp(2)), -np.log(1 + np.exp(-4))])
    assert scores["loss"] == pytest.approx(wanted, rel=1e-6)
    assert task.baseline(data)["accuracy"] == pytest.approx(2 / 3)
    answers = task.answers({"probabilities": np.array([[0.25, 0.75]] * 3, np.float32)}, data)
    assert answers[2] == {"prediction": "yes", "p(no)": 0.25, "p(yes)": 0.75}
    assert list(answers) == [2, 3, 4]

    path.write_text("a\tlabel\nx\t1\ny\t2\nz\t4\n")
    numbers = regression().read(path, tokenizer, labelled=True, strict=True)
    scores = regression().score({"scores": np.array([1.0, 2.0, 3.0])}, numbers)
    assert scores["loss"] == pytest.approx(1 / 3)
    assert scores["spearman"] == pytest.approx(1)
    assert regression().baseline(numbers)["loss"] == pytest.approx(np.var([1, 2, 4]))


def test_the_baseline_is_the_best_constant_answer_for_each_metric(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a\tlabel\nx\tno\ny\tno\nz\tyes\n")
    task = classification()
    data = task.read(path, tokenizer, labelled=True, strict=True)
    # "no" everywhere has two of three rows right, "yes" everywhere finds the one yes among three.
    constant = [task.score({"logits": np.tile(np.eye(2)[label], (3, 1))}, data) for label in (0, 1)]
    assert [scores["f1"] for scores in constant] == [0, pytest.approx(2 * (1 / 3) / (1 / 3 + 1))]
    best = {name: max(scores[name] for scores in constant) for name in ("accuracy", "f1", "mcc")}
    assert task.baseline(data) == best
    assert best["accuracy"] == pytest.approx(2 / 3)


def test_groups_are_scored_beside_the_rows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a\tq\tlabel\nx\tone\tno\ny\tone\tyes\nz\ttwo\tyes\nx y\ttwo\tno\nx z\ttwo\tyes\n")
    task = classification(group=("q",), candidate="a", metric="mrr")
    data = task.read(path, tokenizer, labelled=True, strict=True)
    logits = np.array([[0, 2], [0, 1], [0, 3], [1, 0], [2, 0]], np.float32)
    scores = task.score({"logits": logits}, data)
    wanted = {"accuracy": 3 / 5, "mrr": (1 / 2 + 1) / 2, "map": (1 / 2 + (1 + 2 / 3) / 2) / 2, "top1": 1 / 2}
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted)
    assert scores["group_exact"] == 0
    assert scores["top1_f1"] == 1 / 2
    baseline = task.baseline(data)
    assert (baseline["mrr"], baseline["group_exact"]) == (3 / 4, 0), "rows in the order of the table"
    assert task_from_dict(json.loads(json.dumps(task.to_dict())), "task.json") == task
    unlabelled = task.read(path, tokenizer, labelled=False, strict=True)
    assert unlabelled.kept == {}
    path.write_text("a\tlabel\nx\tno\n")
    with pytest.raises(DataError, match="there is no column 'q'"):
        task.read(path, tokenizer, labelled=True, strict=True)
    assert len(task.read(path, tokenizer, labelled=False, strict=True)) == 1
    lines = path.with_suffix(".jsonl")
    lines.write_text('{"a": "x", "q": 1, "label": "no"}\n{"a": "x", "label": "no"}\n')
    with pytest.raises(DataError, match=r":2: there is no column 'q'"):
        task.read(lines, tokenizer, labelled=True, strict=True)


def test_wrong_groups_are_refused() -> None:
    with pytest.raises(UserError, match="metric 'mrr' is not a metric of classification: accuracy, f1, mcc"):
        classification(metric="mrr")
    with pytest.raises(UserError, match="--group needs two labels"):
        classification(group=("q",), labels=("a", "b", "c"))
    with pytest.raises(UserError, match="--candidate needs --group"):
        classification(candidate="a")


def test_a_row_of_a_nested_line_has_its_own_answer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    questions = [{"question": "x", "answers": [{"text": text} for text in ("y", "z")]}]
    good = json.dumps({"passage": {"text": "x y z", "questions": questions}})
    path = tmp_path / "t.jsonl"
    path.write_text(f"{good}\n{{}}\n{good}\n")
    task = classification(text_a="passage", text_b="question_answer")
    data = task.read(path, tokenizer, labelled=False, strict=False, format="multirc")
    assert (data.lines, data.parts, [line for line, _ in data.problems]) == ([1, 1, 3, 3], [0, 1, 0, 1], [2])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    answers = task.answers({"probabilities": probabilities}, data)
    assert [answers[place]["prediction"] for place in (1, (1, 1), 3, (3, 1))] == ["no", "yes", "yes", "no"]
