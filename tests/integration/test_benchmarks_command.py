"""`ernie benchmarks glue` as a person uses it: tasks that are there, a report, a submission, and nothing done twice."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ernie_paddle.cli.main import main


def glue(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ernie_paddle.cli.main", "benchmarks", "glue", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CoLA and MNLI in the published layout, RTE without its development table."""
    folder = tmp_path_factory.mktemp("glue")
    words = ("the dog sleeps", "dog the sleeps", "a cat runs", "cat a runs")
    cola = [f"src\t{1 - number % 2}\t\t{words[number % 4]} today" for number in range(48)]
    kinds = ("contradiction", "entailment", "neutral")
    mnli = [f"{number}\tit is {number % 5}\tit was {number % 3}\t{kinds[number % 3]}" for number in range(31)]
    head = "index\tsentence1\tsentence2"
    files = {
        "CoLA/train.tsv": cola,
        "CoLA/dev.tsv": cola[:17],
        "CoLA/test.tsv": ["index\tsentence", *(f"{number}\t{words[number % 4]}" for number in range(7))],
        "MNLI/train.tsv": [f"{head}\tgold_label", *mnli],
        "MNLI/dev_matched.tsv": [f"{head}\tgold_label", *mnli[:13]],
        # A broken row, as --set skip_unusable=true lets pass.
        "MNLI/dev_mismatched.tsv": [f"{head}\tgold_label", "40\tit is 1", *mnli[13:]],
        "MNLI/test_matched.tsv": [head, "0\tit is\tit was"],
        "diagnostic/diagnostic.tsv": [head, "5\tit is 1\tit was 2", "6\tit is 2\tit was 2"],
        "RTE/train.tsv": [f"{head}\tlabel", "0\ta\tb\tentailment"],
    }
    for name, lines in files.items():
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return folder


def test_a_suite_from_data_to_submission(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    usual = ["--data_dir", "data", "--output_dir", "out", "--tasks", "cola,mnli,rte", "--size", "tiny"]
    usual += ["--set", "epochs=1", "--set", "max_length=16", "--set", "skip_unusable=true"]
    first = glue(folder, *usual, "--seeds", "1")
    assert first.returncode == 0, first.stderr
    assert "WARNING: no --model given: every run starts from RANDOM weights of size 'tiny'" in first.stderr
    assert "skipped: RTE: dev.tsv not found; the folder data/RTE must contain train.tsv, dev.tsv" in first.stderr
    assert "[4/4]" in first.stderr
    report = (folder / "out" / "results.md").read_text()
    assert report in first.stdout
    assert "| model | CoLA MCC | MNLI acc. | MNLI acc. (mismatched) | Avg. |" in report
    assert "| ERNIE 2.0 base, test | 55.2 | 86.1 | 85.5 | 80.6 (official GLUE score) |" in report
    with zipfile.ZipFile(folder / "out" / "submission.zip") as archive:
        assert set(archive.namelist()) == {"CoLA.tsv", "MNLI-m.tsv", "AX.tsv"}
        cola = archive.read("CoLA.tsv").decode().splitlines()
        assert cola[0] == "index\tprediction"
        assert [line.split("\t")[0] for line in cola[1:]] == [str(number) for number in range(7)]
        assert {line.split("\t")[1] for line in cola[1:]} <= {"0", "1"}
        assert [line.split("\t")[0] for line in archive.read("AX.tsv").decode().splitlines()[1:]] == ["5", "6"]
    assert "missing: SST-2, MRPC, STS-B, QQP, MNLI-mm, QNLI, RTE, WNLI" in first.stdout

    # One more seed: what is finished stays, and of all runs of a task the best alone keeps its checkpoint.
    kept = folder / "out" / "runs" / "CoLA" / "variant-0" / "seed-0" / "result.json"
    before = kept.stat().st_mtime_ns
    second = glue(folder, *usual, "--seeds", "2")
    assert second.returncode == 0, second.stderr
    assert "2 of 6 runs are already done" in second.stderr
    assert kept.stat().st_mtime_ns == before
    assert len(list((folder / "out" / "runs" / "CoLA").glob("*/*/checkpoints"))) == 1
    assert "**ours, median of 2**" in (folder / "out" / "results.md").read_text()

    # What other commands finished in this folder stays in the report and the submission, whatever its options.
    shutil.rmtree(folder / "out" / "runs" / "CoLA")
    cola = [*usual, "--seeds", "1", "--tasks", "cola", "--set", "lr=2e-3"]
    assert main(["benchmarks", "glue", *cola]) == 0
    report = (folder / "out" / "results.md").read_text()
    assert "| model | CoLA MCC | MNLI acc. |" in report
    assert ("--lr 2e-3 " in report, "--lr 0.001 " in report) == (True, True)
    with zipfile.ZipFile(folder / "out" / "submission.zip") as archive:
        assert set(archive.namelist()) == {"CoLA.tsv", "MNLI-m.tsv", "AX.tsv"}

    plan = folder / "out" / "runs" / "MNLI" / "plan.json"
    whole = plan.read_text()
    plan.write_text(whole[:20])
    capsys.readouterr()
    assert main(["benchmarks", "glue", *cola]) == 0
    assert f"MNLI: results of an earlier command are ignored: {plan.relative_to(folder)} is damaged" in (
        capsys.readouterr().err
    )
    plan.write_text(whole)

    # Other settings or other data are other runs; another test table is answered anew.
    assert main(["benchmarks", "glue", *usual, "--seeds", "2", "--set", "lr=0.1"]) == 2
    assert "run with other settings (options was" in capsys.readouterr().err
    test = folder / "data" / "CoLA" / "test.tsv"
    test.write_text("".join(test.read_text().splitlines(True)[:4]))
    assert main(["benchmarks", "glue", *cola]) == 0
    with zipfile.ZipFile(folder / "out" / "submission.zip") as archive:
        assert len(archive.read("CoLA.tsv").splitlines()) == 4
    train = folder / "data" / "CoLA" / "train.tsv"
    train.write_text(train.read_text() + "src\t1\t\tone more\n")
    assert main(["benchmarks", "glue", *cola]) == 2
    assert "out/vocab was made from other text (CoLA); to use it anyway give --vocab" in capsys.readouterr().err
    assert main(["benchmarks", "glue", *cola, "--vocab", "out/vocab"]) == 2
    assert "run with other settings (data was" in capsys.readouterr().err
    other = ["--data_dir", "data", "--output_dir", "out", "--tasks", "cola", "--size", "quickstart", "--seeds", "1"]
    shutil.rmtree(folder / "out" / "runs" / "CoLA")
    assert main(["benchmarks", "glue", *other, "--vocab", "out/vocab", "--set", "epochs=1"]) == 0
    said = "MNLI: results of an earlier command are ignored: it finished no run from this model"
    assert said in capsys.readouterr().err
    assert said in (folder / "out" / "results.md").read_text()


def test_mistakes(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("propeller.tools.fleetrun.visible_gpus", lambda environ: [])
    for arguments, said in {
        (): "no --data_dir given; give the folder with these files",
        ("--data_dir", "nowhere"): "--data_dir nowhere: no such folder",
        ("--data_dir", "data", "--tasks", "MRPC"): "--data_dir data has no complete task of glue",
        ("--data_dir", "data", "--tasks", "colla"): "unknown benchmark 'colla'; did you mean 'CoLA'?",
        ("--data_dir", "data", "--set", "epoch=1"): "did you mean 'epochs'",
        ("--data_dir", "data", "--set", "epochs=0"): "--set epochs=0: '0' is not a whole number of at least 1",
        ("--data_dir", "data", "--set", "lr=[1e-5, x]"): "--set lr=x: 'x' is not a number above 0",
        ("--data_dir", "data", "--set", "header=1"): "--set header=1: the value must be true or false",
        ("--data_dir", "data", "--set", "seed=5"): "--set seed=5: the suite sets seed for every run",
        ("--data_dir", "data", "--tasks", ","): "--tasks is empty",
        ("--data_dir", "data", "--recipe", "brt"): "unknown recipe 'brt'; did you mean 'bert'",
        ("--data_dir", "data", "--size", "base", "--recipe", "ours"): "no recipe fits these tasks and size base",
        ("--data_dir", "data", "--gpus", "0-1"): "--gpus 0-1: device 0 is not visible; visible: none",
        ("--data_dir", "data", "--model", "nowhere"): "nowhere",
    }.items():
        assert main(["benchmarks", "glue", *arguments, "--output_dir", "elsewhere"]) == 2
        last = capsys.readouterr().err.splitlines()
        assert said in last[-1], (arguments, last)
        if not arguments:
            assert "  CoLA: CoLA/ with train.tsv, dev.tsv, and for predictions test.tsv" in last
    assert not Path("elsewhere").exists()
