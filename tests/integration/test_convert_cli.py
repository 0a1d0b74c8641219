"""Weights of other projects are as good to start from as our own, and a converted classifier answers as before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ernie_paddle.cli.main import main
from helpers.finetune_toy import write_pretrained, write_table


def test_finetune_takes_released_weights_as_they_are(tmp_path: Path) -> None:
    write_pretrained(tmp_path / "model")
    train, dev = (write_table(tmp_path / f"{name}.tsv", 40, seed, "first") for seed, name in enumerate(["a", "b"]))
    results = {}
    for layout in ("ours", "hf", "paddlenlp", "static"):
        folder = tmp_path / layout
        assert main(["convert", "--from", str(tmp_path / "model"), "--to", str(folder), "--format", layout]) == 0
        options = f"--train {train} --dev {dev} --text_a a --label label --epochs 1 --batch_size 8 --max_length 16"
        run = tmp_path / f"run-{layout}"
        assert main(["finetune", "--model", str(folder), "--output", str(run), *options.split()]) == 0
        (found,) = (path for path in run.glob("*.json") if "best" in json.loads(path.read_text()))
        results[layout] = json.loads(found.read_text())
    assert all(result == results["ours"] for result in results.values())
    assert 0 < results["ours"]["best"]["loss"] < 1


def test_a_converted_classifier_answers_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through Hugging Face's layout and back: the names of the classes are kept, the columns are to be given."""
    write_pretrained(tmp_path / "model")
    table = write_table(tmp_path / "a.tsv", 40, 0, "first")
    options = f"--train {table} --dev {table} --text_a a --text_b b --epochs 1 --batch_size 8 --max_length 32 --lr 1e-2"
    run = tmp_path / "run"
    assert main(["finetune", "--model", str(tmp_path / "model"), "--output", str(run), *options.split()]) == 0
    best = json.loads((run / "results.json").read_text())["best"]
    for layout in ("hf", "paddlenlp"):
        other, back = tmp_path / layout, tmp_path / f"from_{layout}"
        assert main(["convert", "--from", str(run), "--to", str(other), "--format", layout]) == 0
        assert main(["convert", "--from", str(other), "--to", str(back)]) == 0
        evaluate = ["evaluate", "--model", str(back), "--data", str(table), "--output", str(tmp_path / "report.json")]
        assert main([*evaluate, "--text_a", "a", "--text_b", "b"]) == 0
        assert json.loads((tmp_path / "report.json").read_text())["model"] == pytest.approx(best, abs=1e-5)
        capsys.readouterr()
        answers = []
        for model, columns in ((run, []), (back, ["--text_a", "a", "--text_b", "b"])):
            assert main(["predict", "--model", str(model), "--input", str(table), *columns]) == 0
            printed = capsys.readouterr()
            answers.append(printed.out)
        assert "used as a classification of a and b, truncated to 32 tokens" in printed.err
        assert answers[0].startswith("line\tprediction\tp(no)\tp(yes)\tproblem\n")
        assert answers[0] == answers[1]
        # The same table with other names of the labels, as many a converted classifier needs.
        (tmp_path / "numbered.tsv").write_text(table.read_text().replace("\tno\n", "\t0\n").replace("\tyes\n", "\t1\n"))
        numbered = [str(tmp_path / "numbered.tsv") if word == str(table) else word for word in evaluate]
        assert main([*numbered, "--text_a", "a", "--text_b", "b"]) == 2
        assert "--label_aliases OTHER=LABEL gives a label another name" in capsys.readouterr().err
        assert main([*numbered, "--text_a", "a", "--text_b", "b", "--label_aliases", "0=no,1=yes"]) == 0
        assert json.loads((tmp_path / "report.json").read_text())["model"] == pytest.approx(best, abs=1e-5)
        assert main(evaluate) == 2
        assert "give --text_a, for pairs also --text_b" in capsys.readouterr().err


def test_a_converted_regression_answers_as_before(tmp_path: Path) -> None:
    write_pretrained(tmp_path / "model")
    table = write_table(tmp_path / "a.tsv", 40, 0, "count")
    options = f"--type regression --train {table} --dev {table} --text_a a --epochs 1 --lr 1e-2"
    run, back, report = tmp_path / "run", tmp_path / "back", tmp_path / "report.json"
    assert main(["finetune", "--model", str(tmp_path / "model"), "--output", str(run), *options.split()]) == 0
    assert main(["convert", "--from", str(run), "--to", str(tmp_path / "hf"), "--format", "hf"]) == 0
    assert main(["convert", "--from", str(tmp_path / "hf"), "--to", str(back)]) == 0
    assert main(["evaluate", "--model", str(back), "--data", str(table), "--text_a", "a", "--output", str(report)]) == 0
    best = json.loads((run / "results.json").read_text())["best"]
    assert json.loads(report.read_text())["model"] == pytest.approx(best, abs=1e-5)


def test_a_converted_classifier_of_unknown_classes_is_not_called_pre_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The static releases keep no names of classes."""
    write_pretrained(tmp_path / "model")
    table = write_table(tmp_path / "a.tsv", 40, 0, "first")
    options = f"--train {table} --dev {table} --text_a a --epochs 1"
    run, back = tmp_path / "run", tmp_path / "back"
    assert main(["finetune", "--model", str(tmp_path / "model"), "--output", str(run), *options.split()]) == 0
    assert main(["convert", "--from", str(run), "--to", str(tmp_path / "static"), "--format", "static"]) == 0
    assert main(["convert", "--from", str(tmp_path / "static"), "--to", str(back), "--layer_norm_eps", "1e-12"]) == 0
    for model, message in ((back, "has a classifier, but its task is unknown"), (tmp_path / "model", "only")):
        capsys.readouterr()
        assert main(["evaluate", "--model", str(model), "--data", str(table), "--text_a", "a"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert ("pre-trained only" in error) == (message == "only")
