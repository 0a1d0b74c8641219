"""A new task type is one file and one line: it trains, evaluates, predicts and exports, and its options are its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.cli.main import build_parser, main
from ernie_paddle.finetune.options import options_of
from ernie_paddle.finetune.run import evaluate, finetune, predict
from ernie_paddle.finetune.task_type import TASK_TYPES, task_class
from ernie_paddle.option_kinds import names_of
from helpers.finetune_toy import write_pretrained, write_table

WHERE = "helpers.task_types_of_tests.counting:Counting"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("counting")
    write_pretrained(path / "start")
    write_table(path / "train.tsv", 300, 0, "count")
    write_table(path / "dev.tsv", 80, 1, "count")
    return path


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASK_TYPES, "counting", WHERE)  # the one line


def command(folder: Path) -> list[str]:
    words = ["finetune", "--type", "counting", "--model", str(folder / "start"), "--text_a", "a", "--epochs", "10"]
    words += ["--train", str(folder / "train.tsv"), "--dev", str(folder / "dev.tsv"), "--lr", "3e-3"]
    return [*words, "--largest_count", "5", "--max_length", "16", "--output", str(folder / "run")]


def test_it_trains_evaluates_predicts_exports_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command(folder)) == 0
    results = json.loads((folder / "run" / "results.json").read_text())
    assert results["best"]["pearson"] > 0.95, "the count of one word is easily learnt"
    assert json.loads(next((folder / "run" / "checkpoints").glob("step-*/task.json")).read_text())["largest_count"] == 5
    assert main(["export", "--model", str(folder / "run"), "--output", str(folder / "exported")]) == 0
    answers = {}
    for model in ("run", "exported"):
        report = folder / f"{model}.json"
        words = ["--model", str(folder / model), "--data", str(folder / "dev.tsv"), "--output", str(report)]
        assert main(["evaluate", *words]) == 0
        assert json.loads(report.read_text())["model"]["pearson"] == pytest.approx(results["best"]["pearson"], abs=1e-4)
        words = [
            "--model",
            str(folder / model),
            "--input",
            str(folder / "dev.tsv"),
            "--output",
            str(folder / "a.jsonl"),
        ]
        assert main(["predict", *words]) == 0
        answers[model] = [json.loads(line)["count"] for line in (folder / "a.jsonl").read_text().splitlines()]
    assert len(answers["run"]) == 80
    np.testing.assert_allclose(answers["run"], answers["exported"], rtol=1e-4)
    assert main(["convert", "--from", str(folder / "run"), "--to", str(folder / "hf"), "--format", "hf"]) == 2
    assert "fine-tuned for counting" in capsys.readouterr().err
    assert main(["list", "tasks"]) == 0
    assert "counting             Counts of something" in capsys.readouterr().out


def test_too_large_a_count_is_refused_with_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "large.tsv").write_text("a\tlabel\nw1\t1\nw2\t6\n")
    words = [str(folder / "large.tsv") if word == str(folder / "train.tsv") else word for word in command(folder)]
    assert main([*words, "--overwrite"]) == 2
    assert "large.tsv:3: column 'label': 6 is no count from 0 to 5" in capsys.readouterr().err


def test_the_functions_do_what_the_verbs_do(folder: Path) -> None:
    said: list[str] = []
    options = {"type": "counting", "model": folder / "start", "text_a": "a", "max_length": 16, "largest_count": 5}
    options |= {"train": folder / "train.tsv", "dev": folder / "dev.tsv", "epochs": 2, "output": folder / "function"}
    outcome = finetune(tell=said.append, **options)
    assert outcome.finished
    assert outcome.best is not None
    assert outcome.rows.keys() == {"baseline", "epoch 1", "epoch 2 (best)"} or "epoch 1 (best)" in outcome.rows
    assert any("to train on: 300 rows" in line for line in said)
    found = evaluate(folder / "function", str(folder / "dev.tsv"))
    assert found.scores["pearson"] == pytest.approx(outcome.report["best"]["pearson"], abs=1e-6)
    assert found.examples == 80
    answers = [row for chunk in predict(folder / "function", str(folder / "dev.tsv")).chunks for row in chunk]
    assert [row["line"] for row in answers] == list(range(2, 82))


@pytest.mark.parametrize("type", [*TASK_TYPES, "counting"])
def test_help_lists_the_options_of_the_type_and_the_shared_ones(type: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["finetune", "--type", type, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    own = set(names_of(task_class(type).options))
    for other in TASK_TYPES:
        for name in names_of(task_class(other).options):
            assert (f" --{name}" in printed) == (name in own), f"{type}: --{name}"
    for name in names_of(options_of(type)):
        assert f"--{name}" in printed
    foreign = next(name for name in ("spans", "choices", "n_best", "pooling") if name not in own)
    with pytest.raises(SystemExit):
        build_parser("finetune", ["--type", type]).parse_args(["--type", type, f"--{foreign}", "x"])
    assert f"--{foreign} is for " in capsys.readouterr().err
