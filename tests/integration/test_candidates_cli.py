"""Choices, marked words and candidate answers through the command line, in the layouts of SWAG, WSC and MultiRC."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.cli.main import main
from helpers.cli import exit_code
from helpers.finetune_toy import CONFIG, WORDS, write_pretrained


def random_words(rng: np.random.Generator, least: int = 1) -> list[str]:
    return [str(word) for word in rng.choice(WORDS[4:], size=rng.integers(least, 5))]


def write_choices(path: Path, rows: int, seed: int) -> Path:
    """A table in SWAG's layout; the right ending is the one with w0, whatever the others and the context hold."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["", "sent1", "sent2", *(f"ending{n}" for n in range(4)), "label"])
        for row in range(rows):
            right = int(rng.integers(4))
            endings = [" ".join([WORDS[0 if n == right else 1], *random_words(rng)]) for n in range(4)]
            table.writerow([row, f"w{rng.integers(2)} " + " ".join(random_words(rng)), "w2", *endings, right])
    return path


def write_marked(path: Path, rows: int, seed: int) -> Path:
    """Lines in WSC's layout: the label is whether the second marked word is w0; the text holds w0 and w1 always."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        words = [*random_words(rng, 3), "w0", "w1"]
        words = [str(word) for word in rng.permutation(words)]
        label = bool(rng.integers(2))
        other = next(n for n, word in enumerate(words) if word not in ("w0", "w1"))
        index = words.index("w0" if label else "w1")
        target = {"span1_index": other, "span1_text": words[other], "span2_index": index, "span2_text": words[index]}
        lines.append(json.dumps({"text": " ".join(words), "target": target, "label": label}))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_questions(path: Path, rows: int, seed: int) -> Path:
    """Lines in MultiRC's layout: an answer that begins with w0 is right, one with w1 is wrong."""
    rng = np.random.default_rng(seed)
    lines, question_idx = [], 0
    for row in range(rows):
        questions = []
        for _ in range(2):
            labels = [int(label) for label in rng.integers(0, 2, size=3)]
            answers = [
                {"text": " ".join([WORDS[1 - label], *random_words(rng)]), "idx": n, "label": label}
                for n, label in enumerate(labels)
            ]
            questions.append({"question": " ".join(random_words(rng)), "answers": answers, "idx": question_idx})
            question_idx += 1
        passage = {"text": " ".join(random_words(rng)), "questions": questions}
        lines.append(json.dumps({"idx": row, "version": 1.1, "passage": passage}))
    path.write_text("\n".join(lines) + "\n")
    return path


CASES: dict[str, tuple[Any, str, int, str, float]] = {
    "choices": (
        *(write_choices, "csv", 160),
        "--type multiple_choice --text_a sent1 --text_b sent2 --choices ending0,ending1,ending2,ending3",
        0.9,
    ),
    "marked": (
        *(write_marked, "jsonl", 320),
        "--type span_classification --text_a text --span_unit words"
        " --spans target.span1_index:target.span1_text,target.span2_index:target.span2_text",
        0.9,
    ),
    "questions": (
        *(write_questions, "jsonl", 60),
        "--format multirc --text_a passage --text_b question_answer --metric group_exact --group question_idx"
        " --candidate answer",
        0.8,
    ),
}


RENAMED = {
    "choices": ({"ending": "option", "label": "gold"}, "--choices option0,option1,option2,option3"),
    "marked": (
        {"span1": "first", "span2": "second", "label": "gold"},
        "--spans target.first_index:target.first_text,target.second_index:target.second_text",
    ),
}
"""Other names of columns, and the options that say so."""


@pytest.mark.parametrize("name", CASES)
def test_learnt_evaluated_exported_and_predicted(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write, suffix, rows, options, least = CASES[name]
    start = write_pretrained(tmp_path / "start")
    train, dev = (
        write(tmp_path / f"{part}.{suffix}", n, seed) for part, n, seed in (("train", rows, 0), ("dev", 23, 1))
    )
    run, exported = tmp_path / "run", tmp_path / "exported"
    common = ["--model", str(start), "--train", str(train), "--dev", str(dev), *options.split()]
    assert main(["finetune", *common, "--output", str(run), "--epochs", "6", "--lr", "1e-2", "--batch_size", "16"]) == 0
    results = json.loads((run / "results.json").read_text())
    metric = "group_exact" if name == "questions" else "accuracy"
    assert results["best"][metric] > least
    assert results["baseline"][metric] < 0.65
    assert main(["export", "--model", str(run), "--output", str(exported)]) == 0
    tables = []
    for model in (run, exported):
        # The task knows its format; it may be named all the same.
        format = ["--format", "multirc"] if name == "questions" and model == exported else []
        report = tmp_path / "report.json"
        assert main(["evaluate", "--model", str(model), "--data", str(dev), "--output", str(report), *format]) == 0
        assert json.loads(report.read_text())["model"] == pytest.approx(results["best"], abs=1e-5)
        capsys.readouterr()
        assert main(["predict", "--model", str(model), "--input", str(dev), "--batch", "5", *format]) == 0
        tables.append(list(csv.DictReader(io.StringIO(capsys.readouterr().out), delimiter="\t")))
    assert [row["line"] for row in tables[0]] == [row["line"] for row in tables[1]]
    assert [row["prediction"] for row in tables[0]] == [row["prediction"] for row in tables[1]]
    with dev.open() as stream:
        if name == "choices":
            labels = [row["label"] for row in csv.DictReader(stream)]
        elif name == "marked":
            labels = [json.dumps(json.loads(line)["label"]) for line in stream]
        else:
            passages = [json.loads(line)["passage"] for line in stream]
            labels = [
                str(answer["label"])
                for passage in passages
                for question in passage["questions"]
                for answer in question["answers"]
            ]
            assert [(int(row["line"]), int(row["part"])) for row in tables[0]] == [
                (line, part) for line in range(1, 24) for part in range(6)
            ]
    if name in RENAMED:
        names, columns = RENAMED[name]
        text = dev.read_text()
        for old, new in names.items():
            text = text.replace(old, new)
        other = tmp_path / f"other.{suffix}"
        other.write_text(text)
        arguments = ["--model", str(exported), *columns.split()]
        evaluate = ["evaluate", "--data", str(other), "--label", "gold", "--output", str(tmp_path / "other.json")]
        assert main([*evaluate, *arguments]) == 0
        assert json.loads((tmp_path / "other.json").read_text()) == json.loads((tmp_path / "report.json").read_text())
        capsys.readouterr()
        assert main(["predict", "--input", str(other), *arguments]) == 0
        assert list(csv.DictReader(io.StringIO(capsys.readouterr().out), delimiter="\t")) == tables[1]
        fewer = [*arguments[:-1], arguments[-1].rpartition(",")[0]]
        assert main(["predict", "--input", str(other), *fewer]) == 2
        assert f"gives {fewer[-1].count(',') + 1} values, but the model was trained with" in capsys.readouterr().err
    right = np.mean([row["prediction"] == label for row, label in zip(tables[0], labels, strict=True)])
    assert right == pytest.approx(results["best"]["accuracy"])


def test_a_row_in_a_line_of_several_that_cannot_be_used_keeps_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty answer, which MultiRC has: no row of the line is lost, and the reason stands at the right one."""
    start, train = write_pretrained(tmp_path / "start"), write_questions(tmp_path / "train.jsonl", 8, 0)
    arguments = ["--format", "multirc", "--text_a", "passage", "--text_b", "question_answer", "--epochs", "1"]
    tables = ["--train", str(train), "--dev", str(train), "--output", str(tmp_path / "run")]
    assert main(["finetune", "--model", str(start), *arguments, *tables]) == 0
    lines = [json.loads(line) for line in train.read_text().splitlines()[:2]]
    lines[1]["passage"]["questions"][1]["answers"][0]["text"] = ""
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines) + "no json\n")
    capsys.readouterr()
    predict = ["predict", "--model", str(tmp_path / "run"), "--input", str(table), "--format", "multirc"]
    assert main([*predict, "--text_b", "answer"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out), delimiter="\t"))
    places = [(line, part) for line in "12" for part in "012345"]
    assert [(row["line"], row["part"]) for row in rows] == [*places, ("3", "0")]
    assert [place for place, row in zip(places, rows, strict=False) if row["problem"]] == [("2", "3")]


def test_the_choices_of_a_row_stay_together_in_micro_batches(tmp_path: Path) -> None:
    start = write_pretrained(tmp_path / "start")
    train = write_choices(tmp_path / "train.csv", 20, 0)
    losses = []
    for micro_batch in ("64", "3"):
        run = tmp_path / micro_batch
        arguments = [
            "finetune",
            "--model",
            str(start),
            "--train",
            str(train),
            "--dev",
            str(train),
            "--output",
            str(run),
        ]
        arguments += [
            *CASES["choices"][3].split(),
            "--epochs",
            "2",
            "--batch_size",
            "8",
            "--lr",
            "1e-2",
            "--log_every",
            "1",
        ]
        assert main([*arguments, "--micro_batch", micro_batch]) == 0
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if line["kind"] == "step"])
    assert len(losses[0]) == 6
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--text_a sent1 --choices ending0,ending1", "--choices is for multiple_choice; remove it for --type class"),
        ("--type multiple_choice --text_a sent1 --group q", "--group is for classification and span_classification"),
        (
            "--type multiple_choice --text_a sent1",
            "--choices: multiple_choice needs the columns of two or more choices",
        ),
        (
            "--type multiple_choice --text_a sent1 --choices ending0,ending7",
            "there is no column 'ending7'; did you mean",
        ),
        (
            "--type span_classification --text_a sent1 --spans a",
            "--spans a: a span is two columns separated by a colon",
        ),
        ("--type span_classification --text_a sent1", "--spans: span_classification needs two columns for each span"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    start = write_pretrained(tmp_path / "start")
    train = str(write_choices(tmp_path / "train.csv", 9, 0))
    arguments = ["finetune", "--model", str(start), "--train", train, "--dev", train, "--output", str(tmp_path / "run")]
    assert exit_code([*arguments, *options.split()]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("ernie finetune: ")
    assert message in lines[-1]


def test_two_passes_and_moved_word_vectors(tmp_path: Path) -> None:
    start = write_pretrained(tmp_path / "start", replace(CONFIG, hidden_dropout_prob=0.1))
    train, run = write_choices(tmp_path / "train.csv", 12, 0), tmp_path / "run"
    arguments = ["finetune", "--model", str(start), "--train", str(train), "--dev", str(train), "--output", str(run)]
    arguments += [*CASES["choices"][3].split(), "--epochs", "1", "--log_every", "1", "--rdrop", "1", "--fgm", "0.5"]
    assert main(arguments) == 0
    step = next(
        line for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if line["kind"] == "step"
    )
    losses = step["losses"]
    assert losses["adversarial_classification"] > losses["classification"], "moved to where the loss is greater"
    assert 0 < losses["rdrop"] < 0.1
