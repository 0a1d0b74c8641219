"""finetune, evaluate, predict and export through the command line, on tables with planted rules."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie_paddle.cli.main import main
from helpers.finetune_toy import ENCODER_ARRAYS, write_pretrained, write_table


@dataclass(frozen=True)
class Trained:
    folder: Path
    start: Path
    run: Path
    exported: Path
    dev: Path
    arguments: list[str]
    printed: str
    said: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A classifier fine-tuned on the rule "first" from a pre-trained directory, and its export."""
    folder = tmp_path_factory.mktemp("finetune")
    start = write_pretrained(folder / "start")
    train = write_table(folder / "train.tsv", 400, 0, "first")
    dev = write_table(folder / "dev.tsv", 101, 1, "first")
    run, exported = folder / "run", folder / "exported"
    arguments = ["finetune", "--model", str(start), "--train", str(train), "--dev", str(dev), "--text_a", "a"]
    arguments += ["--output", str(run), "--epochs", "4", "--lr", "1e-2", "--batch_size", "16", "--log_every", "1"]
    with pytest.MonkeyPatch.context() as patch:
        out, err = io.StringIO(), io.StringIO()
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        assert main(arguments) == 0, err.getvalue()
        assert main(["export", "--model", str(run), "--output", str(exported)]) == 0, err.getvalue()
    return Trained(folder, start, run, exported, dev, arguments, out.getvalue(), err.getvalue())


def log_losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "step"]


def answers_of(printed: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(printed), delimiter="\t"))


def test_a_planted_rule_is_learnt_and_reported(trained: Trained) -> None:
    results = json.loads((trained.run / "results.json").read_text())
    assert results["baseline"]["accuracy"] < 0.65
    assert results["best"]["accuracy"] > 0.97
    assert results["rows"] == 101
    assert results["steps"] == 100
    assert "baseline" in trained.printed
    assert f"{results['best']['accuracy']:.4f}" in trained.printed
    assert f"best checkpoint: {trained.run}" in trained.printed


def test_what_was_loaded_is_said(trained: Trained) -> None:
    assert f"{ENCODER_ARRAYS} parameters loaded" in trained.said
    assert "newly initialised: classifier.bias, classifier.weight" in trained.said
    assert "in the checkpoint but not in this model: cls.capitalization.bias" in trained.said


def test_evaluate_gives_the_metrics_of_training_on_both_kinds(trained: Trained, tmp_path: Path) -> None:
    best = json.loads((trained.run / "results.json").read_text())["best"]
    for model in (trained.run, trained.exported):
        report = tmp_path / "report.json"
        assert main(["evaluate", "--model", str(model), "--data", str(trained.dev), "--output", str(report)]) == 0
        found = json.loads(report.read_text())
        assert found["rows"] == 101
        assert found["model"] == pytest.approx(best, abs=1e-5)


def test_evaluate_looks_at_its_output_first_and_takes_a_label_of_another_name(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate = ["evaluate", "--model", str(trained.run), "--data"]
    for place, message in ((tmp_path / "no" / "x.json", "there is no folder"), (tmp_path, "this is a folder")):
        assert main([*evaluate, "absent.tsv", "--output", str(place)]) == 2
        assert message in capsys.readouterr().err
    report, renamed = tmp_path / "x.json", tmp_path / "renamed.tsv"
    renamed.write_text(trained.dev.read_text().replace("label", "gold", 1))
    assert main([*evaluate, str(renamed)]) == 2
    assert "there is no column 'label'" in capsys.readouterr().err
    assert main([*evaluate, str(renamed), "--label", "gold", "--output", str(report)]) == 0
    best = json.loads((trained.run / "results.json").read_text())["best"]
    assert json.loads(report.read_text())["model"] == pytest.approx(best, abs=1e-5)
    for option in ("choices", "spans"):
        assert main([*evaluate, str(renamed), f"--{option}", "a:b,c:d"]) == 2
        assert (
            f"--{option} has no meaning here: the model's task, classification, has no such setting"
            in capsys.readouterr().err
        )


def test_predictions_of_checkpoint_and_export_agree(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [line.split("\t")[2] for line in trained.dev.read_text().splitlines()[1:]]
    tables = []
    for model in (trained.run, trained.exported):
        assert main(["predict", "--model", str(model), "--input", str(trained.dev), "--batch", "7"]) == 0
        tables.append(answers_of(capsys.readouterr().out))
    assert [int(row["line"]) for row in tables[0]] == list(range(2, 103))
    numbers = [np.array([[float(row["p(no)"]), float(row["p(yes)"])] for row in table]) for table in tables]
    assert np.abs(numbers[0] - numbers[1]).max() < 1e-5
    np.testing.assert_allclose(numbers[0].sum(axis=1), 1, atol=1e-6)
    assert [row["prediction"] for row in tables[1]] == [("no", "yes")[i] for i in numbers[1].argmax(axis=1)]
    accuracy = np.mean([row["prediction"] == label for row, label in zip(tables[0], labels, strict=True)])
    best = json.loads((trained.run / "results.json").read_text())["best"]
    assert accuracy == pytest.approx(best["accuracy"])


def test_predict_keeps_unusable_rows_and_reads_standard_input(
    trained: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'{"a": "w0 w9"}\n{"a": ""}\nnot json\n{"b": "w1"}\n{"a": "w1 w9"}\n'
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert main(["predict", "--model", str(trained.exported), "--output_format", "jsonl"]) == 0
    captured = capsys.readouterr()
    answers = [json.loads(line) for line in captured.out.splitlines()]
    assert [answer["line"] for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer.get("prediction") for answer in answers] == ["yes", None, None, None, "no"]
    assert "3 of 5 rows could not be used" in captured.err
    assert "line 2: text_a ('a') is empty" in captured.err
    assert "line 3: not valid JSON" in captured.err
    assert "line 4: text_a is missing" in captured.err


def test_predict_prints_nothing_before_it_can_answer(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = tmp_path / "t.tsv", tmp_path / "not" / "there" / "p.tsv"
    table.write_text("x\ty\n1\t2\n")
    only_header = tmp_path / "h.tsv"
    only_header.write_text("a\tlabel\n")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    for arguments, message in [
        (["--input", str(table)], "columns: x, y; the first row must name the columns"),
        (["--input", str(tmp_path / "absent.tsv")], "absent.tsv: No such file"),
        (["--input", str(only_header)], "h.tsv: no rows to predict"),
        ([], "standard input: the file is empty"),
        (["--input", str(trained.dev), "--output", str(out)], f"{out}: there is no folder {out.parent}"),
        (["--input", str(trained.dev), "--output", str(tmp_path)], f"{tmp_path}: this is a folder"),
    ]:
        assert main(["predict", "--model", str(trained.exported), *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert message in captured.err


def test_predict_writes_files_whole_and_fails_on_nothing_usable(trained: Trained, tmp_path: Path) -> None:
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    table.write_text('a\n"w0 w5"\n')
    base = ["predict", "--model", str(trained.run), "--input", str(table), "--output", str(out)]
    assert main(base) == 0
    assert next(csv.DictReader(out.open()))["prediction"] == "yes"
    table.write_text('a\n"  "\n')
    assert main(base) == 2
    assert [row["problem"] for row in csv.DictReader(out.open())] == ["text_a ('a') is empty"]
    out.unlink()
    table.write_text("other\nx\n")
    assert main(base) == 2
    assert list(tmp_path.iterdir()) == [table]


def test_the_same_command_again_changes_nothing(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    before = log_losses(trained.run)
    assert main(trained.arguments) == 0
    captured = capsys.readouterr()
    assert "resuming after step 100 of 100" in captured.err
    assert captured.out.splitlines()[:6] == trained.printed.splitlines()[:6]
    assert log_losses(trained.run) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--lr", "2e-2"], "config.lr was 0.01 and is 0.02"),
        (["--max_length", "33"], "--max_length 33 is more than the model's 32"),
        (["--metric", "pearson"], "metric 'pearson' is not a metric of classification"),
        (["--labels", "yes,never"], "column 'label': unknown label 'no'; the labels are yes, never"),
        (["--text_a", "c"], "there is no column 'c'"),
        (["--type", "regression"], "train.tsv:2: column 'label': 'no' is not a number (and 399 more"),
        (["--dev", "{tmp}/only_dev.tsv"], "only_dev.tsv:3: column 'label': unknown label 'maybe'"),
        (["--model", "{exported}"], "an exported model cannot be trained"),
        (["--model", "{tmp}"], "no model in it"),
        (["--train", "-"], "--train cannot be standard input"),
        (["--output", "{tmp}/only_dev.tsv"], "only_dev.tsv: File exists"),
        (["--train", "{tmp}/absent.tsv"], "absent.tsv: No such file or directory"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    (tmp_path / "only_dev.tsv").write_text("a\tb\tlabel\nw0\tx\tyes\nw0\tx\tmaybe\n")
    change = [text.format(tmp=tmp_path, exported=trained.exported) for text in change]
    assert main([*trained.arguments, *change]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("ernie finetune: ")
    assert message in lines[-1]


def test_a_damaged_checkpoint_is_named(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    copy = tmp_path / "step-00000001"
    best = json.loads((trained.run / "checkpoints" / "best.json").read_text())["step"]
    shutil.copytree(trained.run / "checkpoints" / f"step-{best:08d}", copy)
    with open(copy / "model.safetensors", "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\1")
    assert main(["predict", "--model", str(copy), "--input", str(trained.dev)]) == 2
    assert "model.safetensors: SHA-256 differs" in capsys.readouterr().err


def test_inspect_shows_both_kinds(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(trained.run), "--parameters"]) == 0
    printed = capsys.readouterr().out
    best = json.loads((trained.run / "results.json").read_text())["step"]
    arrays = load_file(trained.run / "checkpoints" / f"step-{best:08d}" / "model.safetensors")
    assert f"{sum(array.size for array in arrays.values()):,} parameters in {len(arrays)} arrays" in printed
    for name in arrays:
        assert f" {name} " in printed
    assert f"step {best}" in printed
    assert main(["inspect", str(trained.exported)]) == 0
    printed = capsys.readouterr().out
    assert "outputs: logits, probabilities" in printed
    assert "input input_ids: int64" in printed
    assert "files match their SHA-256" in printed


def test_inspect_finds_a_damaged_export(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained.exported, copy)
    with open(copy / "model.pdiparams", "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x01\x02\x03\x04")
    assert main(["inspect", str(copy)]) == 2
    captured = capsys.readouterr()
    assert "model.pdiparams: SHA-256 differs" in captured.err
    assert captured.out == ""
    (copy / "export.json").unlink()
    assert main(["inspect", str(copy)]) == 2
    assert "export.json is missing" in capsys.readouterr().err


def test_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = write_pretrained(tmp_path / "start")
    train = write_table(tmp_path / "train.tsv", 480, 0, "pair")
    dev = write_table(tmp_path / "dev.tsv", 97, 1, "pair")
    arguments = ["finetune", "--model", str(start), "--train", str(train), "--dev", str(dev), "--text_a", "a"]
    arguments += ["--text_b", "b", "--output", str(tmp_path / "run"), "--epochs", "12", "--lr", "5e-3"]
    assert main([*arguments, "--metric", "f1", "--batch_size", "16"]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["best"]["accuracy"] > results["baseline"]["accuracy"] + 0.3
    capsys.readouterr()
    only_a = tmp_path / "a.jsonl"
    only_a.write_text('{"a": "w0"}\n')
    assert main(["predict", "--model", str(tmp_path / "run"), "--input", str(only_a)]) == 2
    assert "text_b is missing" in capsys.readouterr().err


def test_regression(tmp_path: Path) -> None:
    start = write_pretrained(tmp_path / "start")
    train = write_table(tmp_path / "train.tsv", 400, 0, "count")
    dev = write_table(tmp_path / "dev.tsv", 101, 1, "count")
    arguments = ["finetune", "--type", "regression", "--model", str(start), "--train", str(train), "--dev", str(dev)]
    arguments += ["--text_a", "a", "--output", str(tmp_path / "run"), "--epochs", "4", "--lr", "1e-2"]
    assert main([*arguments, "--batch_size", "16"]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["best"]["pearson"] > 0.9
    assert results["best"]["loss"] < 0.3 * results["baseline"]["loss"]


def test_a_pretrained_model_exports_as_an_encoder(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ernie_paddle.checkpoints.model_dir import open_model_dir
    from ernie_paddle.finetune.serving.encoder_program import encoder_task
    from propeller.graph.optim import OptimizerConfig
    from propeller.learner import Learner
    from propeller.serving.predictor import Predictor

    assert main(["export", "--model", str(trained.start), "--output", str(tmp_path / "encoder")]) == 0
    assert f"exported {trained.start} (the encoder, without cls) to" in capsys.readouterr().out
    assert f"exported {trained.run / 'checkpoints' / 'step-'}" in trained.printed
    model = open_model_dir(trained.start)
    learner = Learner(OptimizerConfig(), seed=0)
    learner.add(encoder_task(model.config, with_pooled=True))
    learner.load_parameters(model.parameters())
    batch = {
        "input_ids": np.array([[2, 5, 6, 3], [2, 9, 3, 0]]),
        "segment_ids": np.zeros((2, 4), np.int64),
        "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]]),
    }
    wanted, found = learner.infer("encode", batch), Predictor(tmp_path / "encoder").run(batch)
    assert wanted.keys() == found.keys() == {"hidden", "pooled"}
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)
    assert main(["evaluate", "--model", str(tmp_path / "encoder"), "--data", str(trained.dev)]) == 2


def test_random_weights_are_said_loudly(tmp_path: Path, trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["finetune", "--size", "tiny", "--vocab", str(trained.start), "--train", str(trained.dev)]
    arguments += ["--dev", str(trained.dev), "--text_a", "a", "--output", str(tmp_path / "run"), "--epochs", "1"]
    assert main(arguments) == 0
    assert "WARNING: no --model given" in capsys.readouterr().err
    assert main([*arguments, "--size", "smal"]) == 2
    assert "did you mean 'small'" in capsys.readouterr().err
