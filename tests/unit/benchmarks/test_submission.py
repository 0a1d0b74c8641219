"""Submissions: the servers' file names and rows, whatever could not be answered."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from ernie_paddle.benchmarks.answer_files import Answered, glue_file, unanswered
from ernie_paddle.benchmarks.plan import SuitePlan, SuiteRun, TaskPlan
from ernie_paddle.benchmarks.starting import StartingPoint
from ernie_paddle.benchmarks.submission import submit, write_submission
from ernie_paddle.benchmarks.suite import load_suite


def answered(tmp_path: Path, task: str, name: str, table: str, answers: list[dict[str, object]]) -> Answered:
    path = tmp_path / f"{name}.tsv"
    path.write_text(table)
    found = tmp_path / f"{name}.jsonl"
    found.write_text("".join(json.dumps(row) + "\n" for row in answers))
    suite = next(load_suite(suite) for suite in ("glue", "squad") if task in load_suite(suite).benchmarks)
    return Answered(suite.benchmarks[task], name, path, found)


def test_glue_files(tmp_path: Path) -> None:
    rte = answered(
        tmp_path,
        "RTE",
        "RTE",
        "index\tsentence1\tsentence2\n7\ta\tb\n8\t\tb\n9\tc\td\n",
        [
            {"line": 2, "prediction": "entailment"},
            {"line": 3, "problem": "text_a is empty"},
            {"line": 4, "prediction": "entailment"},
        ],
    )
    quora = answered(tmp_path, "QQP", "QQP", "id\tquestion1\tquestion2\n0\ta\tb\n", [{"line": 2, "prediction": "1"}])
    similar = answered(
        tmp_path, "STS-B", "STS-B", "index\tsentence1\tsentence2\n0\ta\tb\n", [{"line": 2, "prediction": 2.5}]
    )
    path = tmp_path / "submission.zip"
    write_submission(path, "glue", [rte, quora, similar])
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["RTE.tsv", "QQP.tsv", "STS-B.tsv"]
        # The row that could not be answered gets the answer that is commonest.
        assert archive.read("RTE.tsv") == b"index\tprediction\n7\tentailment\n8\tentailment\n9\tentailment\n"
        assert archive.read("QQP.tsv") == b"index\tprediction\n0\t1\n"
        assert archive.read("STS-B.tsv") == b"index\tprediction\n0\t2.5\n"
    assert [unanswered(test) for test in (rte, quora)] == [1, 0]
    before = path.read_bytes()
    write_submission(path, "glue", [rte, quora, similar])
    assert path.read_bytes() == before


def test_similarities_beyond_the_scale(tmp_path: Path) -> None:
    """Those of the rows lie in 0 to 5, and an unusable row gets one of them."""
    given = [5.2, 5.2, -0.1, 0.0, 4.75]
    answers: list[dict[str, object]] = [{"line": line, "prediction": found} for line, found in enumerate(given, 2)]
    answers.append({"line": 7, "problem": "text_a is empty"})
    rows = "".join(f"{number}\ta\tb\n" for number in range(6))
    test = answered(tmp_path, "STS-B", "STS-B", f"index\tsentence1\tsentence2\n{rows}", answers)
    wanted = ["index\tprediction", "0\t5.0", "1\t5.0", "2\t0.0", "3\t0.0", "4\t4.75", "5\t5.0"]
    assert glue_file(test) == ("STS-B.tsv", "".join(line + "\n" for line in wanted))


def test_a_table_without_ids_does_not_cost_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`idx` where GLUE says `index`: the file is named with the reason, and the others are written."""
    data, output = tmp_path / "data", tmp_path / "out"
    for task, column in (("RTE", "idx"), ("WNLI", "index")):
        answers = output / "runs" / task / "answers"
        for folder in (data / task, answers):
            folder.mkdir(parents=True)
        (data / task / "test.tsv").write_text(f"{column}\tsentence1\tsentence2\n3\ta\tb\n")
        (answers / f"{task}.jsonl").write_text('{"line": 2, "prediction": "0"}\n')
    suite = load_suite("glue")
    tasks = [TaskPlan(suite.benchmarks[task], "bert", [{}], range(1)) for task in ("RTE", "WNLI")]
    plan = SuitePlan(tasks, data, output, StartingPoint({}, "sha256:0", "base", "a model", False))
    results: dict[SuiteRun, dict[str, object]] = {SuiteRun("RTE"): {}, SuiteRun("WNLI"): {}}
    submit(suite, plan, results, output / "submission.zip")
    said = capsys.readouterr()
    assert f"RTE: not in the submission: {data}/RTE/test.tsv:1: there is no column 'index'" in said.err
    assert "1 of 11 files; missing: CoLA," in said.out
    assert said.out.endswith("; unusable: RTE\n")
    with zipfile.ZipFile(output / "submission.zip") as archive:
        assert archive.namelist() == ["WNLI.tsv"]

    # Nothing is left: no zip, and a table that is there is not called missing.
    (output / "submission.zip").unlink()
    submit(suite, plan, {}, output / "submission.zip")
    names = "missing: CoLA, SST-2, MRPC, STS-B, QQP, MNLI-m, MNLI-mm, AX, QNLI"
    failed = "without predictions (failed, or not requested): RTE, WNLI"
    assert capsys.readouterr().err == f"no submission: no test has predictions; {names}; {failed}\n"
    assert [path.name for path in output.iterdir()] == ["runs"]


def test_the_server_gets_all_names_of_glue() -> None:
    names = {name for benchmark in load_suite("glue").benchmarks.values() for name in benchmark.test}
    assert names == {
        "AX", "CoLA", "MNLI-m", "MNLI-mm", "MRPC", "QNLI", "QQP", "RTE", "SST-2", "STS-B", "WNLI",
    }  # fmt: skip


def test_answers_of_squad(tmp_path: Path) -> None:
    """Blank questions, as published sets have them, and an id that occurs twice."""
    names = ("q1", "q2", "q3", "q1")
    asked = [{"id": name, "question": "" if name == "q2" else "When?"} for name in names]
    table = json.dumps({"data": [{"paragraphs": [{"context": "in 1066", "qas": asked}]}]})
    answers: list[dict[str, object]] = [
        {"question": 1, "id": "q1", "prediction": "in 1066"},
        {"question": 2, "problem": "(q2) the question is empty"},
        {"question": 3, "id": "q3", "prediction": "1066"},
        {"question": 4, "id": "q1", "problem": "(q1) an earlier question has the same id"},
    ]
    test = answered(tmp_path, "SQuAD-2.0", "SQuAD-2.0", table, answers)
    write_submission(tmp_path / "s.zip", "answers", [test])
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert json.loads(archive.read("SQuAD-2.0.json")) == {"q1": "in 1066", "q2": "", "q3": "1066"}
    assert unanswered(test) == 2
