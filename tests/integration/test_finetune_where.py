"""Tables of one task with other columns each, one of them in several languages, through the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from ernie_paddle.cli.main import main
from helpers.cli import exit_code
from helpers.finetune_toy import write_pretrained, write_table


def rows_of(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def write(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def test_columns_and_language_are_those_of_training_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_table(tmp_path / "train.tsv", 64, 0, "first")
    plain = rows_of(write_table(tmp_path / "plain.tsv", 20, 1, "first"))[1:]
    # Every row a second time in another language, in which yes means no.
    wrong = {"yes": "no", "no": "yes"}
    mixed = [
        row for a, _, label in plain for row in (["de", a, wrong[label]], ["zh", a, label], ["en", a, wrong[label]])
    ]
    dev = write(tmp_path / "dev.tsv", [["language", "sentence1", "gold"], *mixed])
    only = write(tmp_path / "only.tsv", [["sentence1", "gold"], *(row[1:] for row in mixed if row[0] == "zh")])
    run, exported = tmp_path / "run", tmp_path / "exported"
    arguments = ["--train", str(train), "--dev", str(dev), "--output", str(run), "--epochs", "2", "--lr", "1e-2"]
    arguments += ["--model", str(write_pretrained(tmp_path / "start")), "--batch_size", "16"]
    columns = ["--text_a", "a|sentence1", "--label", "label|gold"]
    assert main(["finetune", *arguments, *columns, "--where", "language=zh"]) == 0
    said = capsys.readouterr().err
    assert "to train on: 64 rows (taken whole: no column language)" in said
    assert "to evaluate on: 20 rows (40 skipped: language is not zh)" in said
    assert main(["export", "--model", str(run), "--output", str(exported)]) == 0

    def evaluated(data: Path, *options: str) -> dict[str, float]:
        report = tmp_path / "report.json"
        assert main(["evaluate", "--model", str(exported), "--data", str(data), "--output", str(report), *options]) == 0
        found: dict[str, float] = json.loads(report.read_text())["model"]
        return found

    right = evaluated(dev)
    assert evaluated(only) == right
    other = evaluated(dev, "--where", "language=de")
    assert other["accuracy"] == pytest.approx(1 - right["accuracy"])

    capsys.readouterr()
    assert main(["predict", "--model", str(exported), "--input", str(dev)]) == 0
    printed = capsys.readouterr()
    answers = list(csv.DictReader(io.StringIO(printed.out), delimiter="\t"))
    assert [row["line"] for row in answers] == [str(line) for line in range(2, 62)]
    assert [bool(row["prediction"]) for row in answers] == [False, True, False] * 20
    assert answers[0]["problem"] == "skipped: language is 'de', not 'zh'"
    assert "40 of 60 rows could not be used" in printed.err

    for options, message in [
        (["--where", "language=fr"], "none of its 60 rows has 'fr' in the column 'language'"),
        (["--where", "language"], "write it as COLUMN=VALUE"),
    ]:
        assert main(["evaluate", "--model", str(exported), "--data", str(dev), *options]) == 2
        assert message in capsys.readouterr().err
    assert exit_code(["finetune", *arguments, "--type", "labelling", "--where", "language=zh"]) == 2
    assert "--where is for classification" in capsys.readouterr().err
