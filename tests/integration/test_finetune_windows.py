"""Labelling and question answering through the command line: planted tasks are learnt, in windows, on both kinds."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.checkpoints.model_dir import open_model_dir
from ernie_paddle.cli.main import main
from ernie_paddle.finetune.serving.answering import model_runner
from ernie_paddle.finetune.serving.inference import run_dataset
from ernie_paddle.finetune.task_type import require_task
from ernie_paddle.finetune.tasks.labelling import Labelling
from ernie_paddle.finetune.tasks.question_answering import QuestionAnswering
from helpers.cli import exit_code
from helpers.finetune_toy import write_pretrained, write_questions, write_tagged


@dataclass(frozen=True)
class Trained:
    run: Path
    exported: Path
    train: Path
    dev: Path
    said: str

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run / "results.json").read_text())
        return found


def train_and_export(folder: Path, arguments: list[str], train: Path, dev: Path) -> Trained:
    start, run, exported = folder / "start", folder / "run", folder / "exported"
    if not start.exists():
        write_pretrained(start)
    arguments = ["finetune", "--model", str(start), "--train", str(train), "--dev", str(dev), *arguments]
    with pytest.MonkeyPatch.context() as patch:
        out, err = io.StringIO(), io.StringIO()
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        assert main([*arguments, "--output", str(run), "--log_every", "1"]) == 0, err.getvalue()
        assert main(["export", "--model", str(run), "--output", str(exported)]) == 0, err.getvalue()
    return Trained(run, exported, train, dev, err.getvalue())


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("tagger")
    train, dev = write_tagged(folder / "train.conll", 150, 0), write_tagged(folder / "dev.conll", 41, 1)
    arguments = ["--type", "labelling", "--max_length", "18", "--epochs", "6", "--lr", "1e-2", "--batch_size", "16"]
    return train_and_export(folder, arguments, train, dev)


@pytest.fixture(scope="module")
def answerer(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("answerer")
    train, dev = write_questions(folder / "train.json", 300, 0), write_questions(folder / "dev.json", 60, 1)
    arguments = ["--type", "question_answering", "--max_length", "24", "--max_query_length", "8", "--doc_stride", "6"]
    arguments += ["--epochs", "5", "--lr", "1e-2", "--batch_size", "16"]
    return train_and_export(folder, arguments, train, dev)


def test_planted_entities_are_learnt(tagger: Trained) -> None:
    assert tagger.results["baseline"]["f1"] == 0
    assert tagger.results["best"]["f1"] > 0.8
    assert tagger.results["rows"] == 41
    assert "41 sentences" in tagger.said
    assert "windows" in tagger.said


def test_tokens_and_tags_in_other_columns(tagger: Trained, tmp_path: Path) -> None:
    """The model was trained without naming them: the first column and the last."""
    other = tmp_path / "other.conll"
    lines = [line.split(" ") for line in tagger.dev.read_text().splitlines()]
    other.write_text("".join(f"x {' '.join(fields)} y\n" if len(fields) == 2 else "\n" for fields in lines))
    arguments = ["--model", str(tagger.run), "--data", str(other), "--output", str(tmp_path / "report.json")]
    assert main(["evaluate", *arguments, "--text_a", "2", "--label", "3"]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["model"] == pytest.approx(
        tagger.results["best"], abs=1e-5
    )


def test_planted_answers_are_learnt_and_a_wrong_one_is_kept_out(answerer: Trained) -> None:
    assert answerer.results["baseline"]["exact_match"] < 40
    assert answerer.results["best"]["exact_match"] > 80
    assert answerer.results["rows"] == 61
    assert "to train on: 301 questions in " in answerer.said
    assert "--scoring auto: answers are scored as in squad2, which fits the training data" in answerer.said
    assert "(1 have no answer at the stated place and are not trained on; the first: question " in answerer.said


@pytest.mark.parametrize("kind", ["tagger", "answerer"])
def test_checkpoint_and_export_evaluate_as_in_training_whatever_the_batch(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    trained: Trained = request.getfixturevalue(kind)
    for model, batch in ((trained.run, "5"), (trained.exported, "64"), (trained.exported, "7")):
        report = tmp_path / "report.json"
        arguments = ["evaluate", "--model", str(model), "--data", str(trained.dev), "--batch", batch]
        assert main([*arguments, "--output", str(report)]) == 0
        assert json.loads(report.read_text())["model"] == pytest.approx(trained.results["best"], abs=1e-5)


def test_predicted_tags_of_both_kinds_agree_and_give_the_score(
    tagger: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = [[line.split() for line in block.splitlines()] for block in tagger.dev.read_text().strip().split("\n\n")]
    tables = []
    for model in (tagger.run, tagger.exported):
        assert main(["predict", "--model", str(model), "--input", str(tagger.dev), "--output_format", "jsonl"]) == 0
        tables.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert [row["tokens"] for row in tables[0]] == [[word for word, _ in block] for block in blocks]
    assert [row["prediction"] for row in tables[0]] == [row["prediction"] for row in tables[1]]
    for one, other in zip(*tables, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    pairs = [
        (tag, found) for block, row in zip(blocks, tables[0], strict=True)
        for (_, tag), found in zip(block, row["prediction"], strict=True)
    ]  # fmt: skip
    share = np.mean([tag == found for tag, found in pairs])
    assert share == pytest.approx(tagger.results["best"]["accuracy"])
    # Without tags and as a table, with a row that cannot be used.
    table = tmp_path / "t.tsv"
    table.write_text("tokens\nw5 w0 w6 w1\n \n")
    assert main(["predict", "--model", str(tagger.exported), "--input", str(table)]) == 0
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out), delimiter="\t"))
    assert (rows[0]["line"], rows[0]["tokens"], rows[0]["prediction"]) == ("2", "w5 w0 w6 w1", "O B-PER O B-LOC")
    assert len(rows[0]["probability"].split(" ")) == 4
    assert rows[1]["problem"] == "column 'tokens': empty"


def test_predicted_answers_of_both_kinds_agree_and_give_the_score(
    answerer: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(answerer.dev.read_text())
    paragraphs = document["data"][0]["paragraphs"]
    tables = []
    for model in (answerer.run, answerer.exported):
        assert main(["predict", "--model", str(model), "--input", str(answerer.dev), "--output_format", "jsonl"]) == 0
        tables.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    hits = 0
    for paragraph, one, other in zip(paragraphs, *tables, strict=True):
        (question,) = paragraph["qas"]
        assert one["id"] == other["id"] == question["id"]
        assert one["prediction"] == other["prediction"]
        assert one["no_answer_score"] == pytest.approx(other["no_answer_score"], abs=1e-4)
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
        wanted = [answer["text"] for answer in question["answers"]] or [""]
        hits += one["prediction"] in wanted
        if one["prediction"]:
            assert paragraph["context"][one["start"] :].startswith(one["prediction"])
    assert 100 * hits / len(paragraphs) == pytest.approx(answerer.results["best"]["exact_match"])


def test_answers_may_be_scored_by_another_definition(
    answerer: Trained, tagger: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of SQuAD 1.1 knows no questions without answer: no words in common, no F1."""
    report = tmp_path / "report.json"
    arguments = ["evaluate", "--model", str(answerer.run), "--data", str(answerer.dev), "--output", str(report)]
    assert main([*arguments, "--scoring", "squad"]) == 0
    found, best = json.loads(report.read_text())["model"], answerer.results["best"]
    assert found["exact_match"] == pytest.approx(best["exact_match"])
    assert found["answerable_f1"] == pytest.approx(best["answerable_f1"])
    assert found["unanswerable_f1"] == 0 < best["unanswerable_f1"]
    arguments = ["evaluate", "--model", str(tagger.run), "--data", str(tagger.dev), "--scoring", "squad"]
    assert main(arguments) == 2
    assert "--scoring has no meaning here: the model's task, labelling, has no such setting" in capsys.readouterr().err


def test_a_blank_question_is_wrong_and_reported(
    answerer: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(answerer.dev.read_text())
    blank = {"id": "blank", "question": " ", "answers": [{"text": "w1", "answer_start": 0}]}
    document["data"][0]["paragraphs"].append({"context": "w1", "qas": [blank]})
    dev, report = tmp_path / "dev.json", tmp_path / "report.json"
    dev.write_text(json.dumps(document))
    assert main(["evaluate", "--model", str(answerer.run), "--data", str(dev), "--output", str(report)]) == 0
    found, best = json.loads(report.read_text())["model"], answerer.results["best"]
    assert found["exact_match"] == pytest.approx(best["exact_match"] * 61 / 62)
    assert found["unanswerable_f1"] == pytest.approx(best["unanswerable_f1"])
    assert "and 1 that cannot be asked and count as wrong (the first: question 62, blank: " in capsys.readouterr().out


def test_the_threshold_that_is_best_for_the_development_data_is_kept(answerer: Trained) -> None:
    model = open_model_dir(answerer.run)
    task = require_task(model)
    assert isinstance(task, QuestionAnswering)
    data = task.read(answerer.dev, model.tokenizer, labelled=True, strict=True)
    outputs = run_dataset(model_runner(model, task), task, data, 16)
    assert task.threshold == pytest.approx(task.tuned(outputs, data).threshold, abs=1e-4)
    exported = require_task(open_model_dir(answerer.exported))
    assert exported == task


def logged_losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "step"]


@pytest.mark.parametrize("type", ["labelling", "question_answering"])
def test_the_loss_is_the_mean_over_what_is_labelled(type: str, tmp_path: Path) -> None:
    """One update over all rows with hardly any learning rate, in micro-batches, against NumPy without any padding."""
    train = (write_tagged if type == "labelling" else write_questions)(tmp_path / "train", 12, 3)
    arguments = ["--type", type, "--max_length", "24", "--doc_stride", "6", "--epochs", "1"]
    arguments += ["--max_query_length", "8"] if type == "question_answering" else []
    arguments += ["--lr", "1e-12", "--batch_size", "1000", "--micro_batch", "5"]
    trained = train_and_export(tmp_path, arguments, train, train)
    model = open_model_dir(trained.run)
    task = require_task(model)
    data = task.read(train, model.tokenizer, labelled=True, strict=True).for_training()
    outputs = run_dataset(model_runner(model, task), task, data, 64)
    losses: list[float] = []
    if isinstance(task, Labelling):
        for scores, label in zip(outputs["logits"].astype(np.float64), data.labels, strict=True):  # type: ignore[attr-defined]
            if label >= 0:
                losses.append(np.log(np.exp(scores).sum()) - scores[label])
    else:
        for row, length in enumerate(data.lengths):
            begin = int(data.lengths[:row].sum())
            for name, place in (("start_logits", data.starts[row]), ("end_logits", data.ends[row])):  # type: ignore[attr-defined]
                scores = outputs[name][begin : begin + length].astype(np.float64)
                losses.append(np.log(np.exp(scores).sum()) - scores[place])
    assert logged_losses(trained.run) == [pytest.approx(np.mean(losses), abs=1e-5)]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("tagger", ["--text_b", "2"], "--text_b is for classification"),
        ("tagger", ["--label", "3"], "train.conll:1: there are only 2 columns"),
        ("tagger", ["--labels", "O,B-PER,I-PER"], "unknown entity type in the tag 'B-LOC'"),
        ("tagger", ["--type", "question_answering"], "train.conll:1: not valid JSON"),
        ("tagger", ["--type", "classification"], "--text_a is missing"),
        ("answerer", ["--type", "labelling", "--format", "squad"], "format 'squad' holds no tagged sentences"),
        ("answerer", ["--type", "question_answering", "--max_query_length", "32"], "leaves no room for a context"),
        ("answerer", ["--type", "question_answering", "--format", "tsv"], "format 'tsv' holds no questions"),
        (
            "answerer",
            ["--type", "question_answering", "--train", "{tmp}/wrong.json", "--max_query_length", "8"],
            "no row can be trained on: 1 questions in 1 windows (1 have no answer at the stated place and are "
            "not trained on; the first: question 1, wrong: the answer 'w0' is not at character 1 of the context, but ",
        ),
        (
            "answerer",
            ["--type", "question_answering", "--dev", "{tmp}/latin.json", "--max_query_length", "8"],
            "latin.json:2: not UTF-8",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    kind: str,
    change: list[str],
    message: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained: Trained = request.getfixturevalue(kind)
    write_questions(tmp_path / "wrong.json", 0, 0)
    (tmp_path / "latin.json").write_bytes(b'{"data":\n["caf\xe9"]}')
    arguments = ["finetune", "--type", "labelling", "--model", str(trained.run), "--train", str(trained.train)]
    arguments += ["--dev", str(trained.dev), "--output", str(tmp_path / "run"), "--max_length", "24"]
    assert exit_code([*arguments, *(text.format(tmp=tmp_path) for text in change)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("ernie finetune: ")
    assert message in lines[-1]
    assert not (tmp_path / "run").exists()
