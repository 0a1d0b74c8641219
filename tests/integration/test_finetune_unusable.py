"""Labelled tables with rows that cannot be used, as published ones have them: refused, or left out and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ernie_paddle.cli.main import main
from helpers.finetune_toy import write_pretrained, write_questions, write_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, clean tables, and tables with three rows without a label (`-`) and two that cannot be used."""
    path = tmp_path_factory.mktemp("unusable")
    write_pretrained(path / "start")
    for name, rows, seed in (("train", 64, 0), ("dev", 37, 1)):
        write_table(path / f"{name}.tsv", rows, seed, "first")
        header, *lines = (path / f"{name}.tsv").read_text().splitlines()
        none = [f"w{1 - row % 2} w9\tw5\t-" for row in range(3)]
        marked = [header, *none, *lines]
        (path / f"{name}_marked.tsv").write_text("\n".join(marked) + "\n")
        (path / f"{name}_broken.tsv").write_text("\n".join([*marked, "\tw5\tyes", "w0 w9"]) + "\n")
    return path


def command(folder: Path, train: str, dev: str, output: Path, *more: str) -> list[str]:
    tables = ["--train", str(folder / f"{train}.tsv"), "--dev", str(folder / f"{dev}.tsv")]
    arguments = ["finetune", "--model", str(folder / "start"), *tables, "--output", str(output)]
    return [*arguments, "--text_a", "a", "--lr", "1e-2", "--batch_size", "32", "--epochs", "1", *more]


def test_rows_without_a_label_are_left_out_everywhere(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training on and scoring the published tables is the same as on tables without those rows."""
    assert main(command(folder, "train", "dev", tmp_path / "clean")) == 0
    capsys.readouterr()
    assert main(command(folder, "train_marked", "dev_marked", tmp_path / "marked", "--no_label", "-")) == 0
    said = capsys.readouterr().err
    assert "to train on: 64 rows (3 skipped: their label is -); to evaluate on: 37 rows (3 skipped: " in said
    assert "WARNING: " not in said
    clean, marked = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("clean", "marked"))
    assert (clean.pop("left_out"), marked.pop("left_out")) == (0, 3)
    assert (clean.pop("left_out_of_training"), marked.pop("left_out_of_training")) == (0, 3)
    assert clean == marked
    found = []
    for run, data, *more in (("marked", "dev_marked"), ("clean", "dev_marked", "--no_label", "-"), ("clean", "dev")):
        arguments = ["--model", str(tmp_path / run), "--data", str(folder / f"{data}.tsv"), *more]
        assert main(["evaluate", *arguments, "--output", str(tmp_path / "report.json")]) == 0
        found.append(json.loads((tmp_path / "report.json").read_text()))
    assert [report.pop("left_out") for report in found] == [3, 3, 0]
    assert found[0] == found[1] == found[2]


def test_a_dash_among_the_labels_is_pointed_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, "train_marked", "dev", tmp_path / "run")) == 0
    warning = "train_marked.tsv: '-' is used as a label; if it means that a row has no label, give --no_label -"
    assert warning in capsys.readouterr().err


def test_unusable_rows_of_every_table_are_refused_or_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = ["--no_label", "-"]
    for train, dev in (("train_broken", "dev"), ("train", "dev_broken")):
        assert main(command(folder, train, dev, tmp_path / "run", *none)) == 2
        assert "_broken.tsv:" in capsys.readouterr().err
    assert main(command(folder, "train_broken", "dev_broken", tmp_path / "run", *none, "--skip_unusable")) == 0
    said = capsys.readouterr().err
    for table, line in (("train_broken", 69), ("dev_broken", 42)):
        assert f"{table}.tsv: 2 unusable entries skipped, the first in line {line}: text_a ('a') is empty" in said
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["left_out"], results["left_out_of_training"]) == (5, 5)
    arguments = ["evaluate", "--model", str(tmp_path / "run"), "--data", str(folder / "dev_broken.tsv")]
    assert main(arguments) == 2
    capsys.readouterr()
    assert main([*arguments, "--skip_unusable", "--output", str(tmp_path / "report.json")]) == 0
    assert "dev_broken.tsv: 2 unusable entries skipped, the first in line 42" in capsys.readouterr().err
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["rows"], report["left_out"]) == (37, 5)
    empty = tmp_path / "empty.tsv"
    empty.write_text("a\tb\tlabel\n\tw1\tyes\n")
    arguments = ["--model", str(tmp_path / "run"), "--data", str(empty), "--skip_unusable"]
    assert main(["evaluate", *arguments]) == 2
    assert "empty.tsv: nothing in it is usable; the first problem is in line 2: text_a ('a')" in capsys.readouterr().err


def test_questions_that_cannot_be_used(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A question without a text is a mistake, one with a blank text counts as wrong."""
    train = write_questions(tmp_path / "train.json", 6, 0)
    document = json.loads(train.read_text())
    document["data"][0]["paragraphs"][0]["qas"].append({"id": "blank", "question": " ", "answers": []})
    train.write_text(json.dumps(document))
    questions = [{"question": text, "context": "w5 w0", "answers": []} for text in ("w3", "", None)]
    dev = tmp_path / "dev.jsonl"
    dev.write_text("".join(json.dumps(question) + "\n" for question in questions))
    arguments = ["finetune", "--type", "question_answering", "--model", str(folder / "start"), "--train", str(train)]
    arguments += ["--dev", str(dev), "--max_length", "24", "--max_query_length", "4", "--epochs", "1"]
    arguments += ["--output", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert "dev.jsonl: question 3: (3) 'question' is missing" in capsys.readouterr().err
    assert main([*arguments, "--skip_unusable"]) == 0
    assert "dev.jsonl: 1 unusable entries skipped, the first in question 3" in capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    # Beside the blank question one whose answer stands elsewhere cannot be learnt from.
    assert (results["rows"], results["left_out"], results["left_out_of_training"]) == (2, 1, 2)
