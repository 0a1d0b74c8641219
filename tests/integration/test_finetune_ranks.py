"""On two processes the development data are evaluated whole, and weighted losses are those of one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ernie_paddle.cli.main import main
from helpers.finetune_toy import write_pretrained, write_questions, write_table, write_tagged
from helpers.paths import ROOT, environment

DEV_ROWS = 97
"""A prime number: no number of processes or rows per batch divides it."""
TABLES: dict[str, list[str]] = {
    "classification.tsv": ["--text_a", "a", "--class_weights", "1,2.5"],
    "labelling.conll": ["--max_length", "18"],
    "question_answering.json": ["--max_length", "24", "--max_query_length", "8", "--doc_stride", "6"],
}


def command(folder: Path, table: str, output: Path) -> list[str]:
    words = ["finetune", "--model", str(folder / "start"), "--type", Path(table).stem, *TABLES[table]]
    words += ["--train", str(folder / f"train-{table}"), "--dev", str(folder / f"dev-{table}"), "--lr", "1e-2"]
    settings = ["--epochs", "1", "--batch_size", "8", "--eval_batch", "10", "--log_every", "1"]
    return [*words, *settings, "--output", str(output)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model fine-tuned on each table on two processes, into two-TABLE."""
    path = tmp_path_factory.mktemp("ranks")
    write_pretrained(path / "start")
    for name, rows, seed in (("train", 73, 0), ("dev", DEV_ROWS, 1)):
        write_table(path / f"{name}-classification.tsv", rows, seed, "first")
        write_tagged(path / f"{name}-labelling.conll", rows, seed)
        write_questions(path / f"{name}-question_answering.json", rows - 1, seed)  # and one that cannot be learnt from
    commands = path / "commands.json"
    verbs = [command(path, table, path / f"two-{table}") for table in TABLES]
    labelled, report = ["--data", str(path / "dev-labelling.conll")], ["--output", str(path / "evaluated.json")]
    verbs.append(["evaluate", "--model", str(path / "two-labelling.conll"), *labelled, *report])
    commands.write_text(json.dumps(verbs))
    launch = [
        sys.executable,
        "-m",
        "propeller.tools.fleetrun",
        "--nproc_per_node",
        "2",
        "--log_dir",
        str(path / "logs"),
    ]
    done = subprocess.run(
        [*launch, str(ROOT / "tests" / "helpers" / "verbs_worker.py"), str(commands)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return path


@pytest.mark.parametrize("table", TABLES)
def test_two_processes_evaluate_every_row_as_one_does(folder: Path, table: str, tmp_path: Path) -> None:
    run, report = folder / f"two-{table}", tmp_path / "report.json"
    assert main(["evaluate", "--model", str(run), "--data", str(folder / f"dev-{table}"), "--output", str(report)]) == 0
    found, together = json.loads(report.read_text()), json.loads((run / "results.json").read_text())
    assert found["rows"] == together["rows"] == DEV_ROWS
    assert together["best"] == pytest.approx(found["model"], abs=1e-5)
    assert together["baseline"] == found["baseline"]
    if table == "labelling.conll":
        assert json.loads((folder / "evaluated.json").read_text())["model"] == pytest.approx(found["model"], abs=1e-5)


def test_weighted_losses_do_not_depend_on_the_number_of_processes(folder: Path, tmp_path: Path) -> None:
    def losses(run: Path) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        return [{**line["losses"], **line["metrics"]} for line in lines if line["kind"] == "step"]

    # Micro-batches of one process that are other ones than those of two.
    assert main([*command(folder, "classification.tsv", tmp_path / "one"), "--micro_batch", "3"]) == 0
    one, two = losses(tmp_path / "one"), losses(folder / "two-classification.tsv")
    assert len(one) == len(two) == 10  # the last batch has a single row: one of two processes has none
    for a, b in zip(one, two, strict=True):
        assert b == pytest.approx(a, abs=1e-5)
