"""Doing jobs, with a stand-in for the process that trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.jobs.job import Group, Job
from ernie_paddle.jobs.runner import InterruptedRunError, JobRunner, Pace
from ernie_paddle.tables.plan import FinetuneSettings, Row, SizeConfig, TableConfig, TablePlan, TableRun
from ernie_paddle.tables.runner import groups_of
from ernie_paddle.tables.sources import Sources, tables_of
from propeller.errors import UserError

# Writes down what it was asked for, and then a result; fails in the folder of a row called "bad" while a file says so.
STAND_IN = """
import json, os, sys, time
from pathlib import Path
for spec in json.loads(Path(sys.argv[1]).read_text()):
    folder = Path(spec["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    output = folder.parents[3]
    with open(output / "asked.txt", "a") as asked:
        asked.write(f"{folder.relative_to(output / 'runs')}\\n")
    fails = output / "fails.txt"
    if fails.is_file() and fails.read_text() in str(folder):
        print("ernie: it will not do\\n", flush=True)
        if (output / "killed").is_file():
            os.kill(os.getpid(), 9)
        sys.exit(2)
    if (output / "slow").is_file():
        (output / "started").touch()
        time.sleep(60)
    result = {"settings": spec["settings"], "seconds": 2.0, "best": {"mcc": 0.5}, "baseline": {}, "evaluations": []}
    (folder / "result.json").write_text(json.dumps(result))
"""

GLUE = load_suite("glue").benchmarks
ROWS = {"random": Row("none"), "bad": Row("bad", "mlm"), "good": Row("good", "mlm", ["schedule.kind=cmtl"])}
BENCHMARKS = [GLUE["CoLA"], GLUE["RTE"]]


def stand_in(folder: Path) -> list[str]:
    """A process that only pretends."""
    return [sys.executable, "-c", STAND_IN]


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    for benchmark in BENCHMARKS:
        folder = tmp_path / "glue" / benchmark.name
        folder.mkdir(parents=True)
        for name in ("train", "dev"):
            (folder / f"{name}.tsv").write_text("".join(f"row {i}\n" for i in range(11)))
    return tmp_path / "glue"


def runner(output: Path, glue: Path, steps: int = 8, seeds: int = 2) -> JobRunner[TableRun]:
    table = TableConfig("A table", ROWS, [], "tiny", 0.1)
    size = SizeConfig(100, FinetuneSettings(1, 32, 1e-4, 64), arch="tiny")
    plan = TablePlan("t", table, size, "tiny", steps, range(seeds), BENCHMARKS)
    sources = Sources(output / "corpus", output / "vocab", glue, BENCHMARKS)
    return JobRunner(groups_of(plan, sources, output), output, lambda job, result: "mcc 0.500", stand_in)


def asked(output: Path) -> list[str]:
    lines = (output / "asked.txt").read_text().splitlines()
    (output / "asked.txt").unlink()
    return lines


def test_every_run_is_done_once(tmp_path: Path, glue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, trials = tmp_path / "out", []
    first = runner(output, glue)
    first.run(lambda: trials.append(len(first.results)))
    assert asked(output) == [
        f"{row}/seed-{seed}/{kind}"
        for seed in (0, 1)
        for row in ROWS
        for kind in (["pre-training"] if row != "random" else []) + ["CoLA", "RTE"]
    ]
    assert trials == [2, 5, 8, 10, 13, 16]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert len(lines) == 16
    assert lines[0] == "[1/16] random, seed 0, CoLA: mcc 0.500 in 2 s; about 0 min left"
    assert lines[-1].endswith("all done")

    again = runner(output, glue)
    again.run(lambda: None)
    assert not (output / "asked.txt").exists()
    assert again.results.keys() == first.results.keys()
    # A run whose result is taken away, and one more seed, are all that is done.
    (output / "runs" / "good" / "seed-1" / "RTE" / "result.json").unlink()
    runner(output, glue).run(lambda: None)
    assert asked(output) == ["good/seed-1/RTE"]
    runner(output, glue, seeds=3).run(lambda: None)
    assert {line.split("/")[1] for line in asked(output)} == {"seed-2"}


def test_a_failing_run_is_named_and_others_go_on(
    tmp_path: Path, glue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "fails.txt").write_text("bad/seed-0/CoLA")
    failing = runner(output, glue, seeds=1)
    failing.run(lambda: None)
    assert failing.failures == {TableRun("bad", 0, GLUE["CoLA"]): "ernie: it will not do"}
    assert "FAILED bad, seed 0, CoLA: ernie: it will not do" in capsys.readouterr().err
    assert len(failing.results) == 7
    # Without pre-training there is nothing to fine-tune.
    (output / "fails.txt").write_text("good/seed-1/pre-training")
    failing = runner(output, glue, seeds=2)
    failing.run(lambda: None)
    failed = {run.kind: reason for run, reason in failing.failures.items()}
    usual = "its pre-training failed"
    assert failed == {"pre-training": "ernie: it will not do", "CoLA": usual, "RTE": usual}
    asked(output)
    # What was killed had no time for last words.
    (output / "killed").touch()
    killed = runner(output, glue, seeds=2)
    killed.run(lambda: None)
    assert "ended by signal SIGKILL: there may be too little memory" in killed.failures.values()
    (output / "asked.txt").unlink()
    # It is tried again.
    (output / "fails.txt").unlink()
    mended = runner(output, glue, seeds=2)
    mended.run(lambda: None)
    assert asked(output) == [f"good/seed-1/{kind}" for kind in ("pre-training", "CoLA", "RTE")]
    assert not mended.failures


def test_other_settings_are_refused(tmp_path: Path, glue: Path) -> None:
    output = tmp_path / "out"
    runner(output, glue, seeds=1).run(lambda: None)
    with pytest.raises(
        UserError, match=r"seed-0.pre-training was run with other settings .*total_steps=8.*=9"
    ) as error:
        runner(output, glue, steps=9, seeds=1)
    assert "warmup" in str(error.value) or "total_steps" in str(error.value)


def test_a_signal_ends_it_and_the_same_goes_on(tmp_path: Path, glue: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "slow").touch()
    interrupted = runner(output, glue, seeds=1)

    def interrupt() -> None:
        while not (output / "started").exists():
            stopping.wait(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    stopping = threading.Event()
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(InterruptedRunError):
        interrupted.run(lambda: None)
    thread.join()
    assert asked(output) == ["random/seed-0/CoLA"]
    (output / "slow").unlink()
    runner(output, glue, seeds=1).run(lambda: None)
    assert len(asked(output)) == 8


def test_two_processes_in_one_folder_are_refused(tmp_path: Path, glue: Path) -> None:
    from propeller.run.run_folder import FolderLock

    holder = "import sys, time\nfrom pathlib import Path\nfrom propeller.run.run_folder import FolderLock\n"
    holder += "lock = FolderLock(Path(sys.argv[1]))\nlock.acquire()\nprint('held', flush=True)\ntime.sleep(60)\n"
    output = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", holder, str(output)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="in use by another process"):
            runner(output, glue).run(lambda: None)
        process.kill()
    FolderLock(output).acquire()


def test_what_is_left_is_told_from_runs_of_the_same_kind() -> None:
    pace = Pace()
    for seconds in (10.0, 20.0):
        pace.add("pre-training", seconds)
    pace.add("CoLA", 3.0)
    assert pace.left(["pre-training", "CoLA", "CoLA"]) == 15 + 3 + 3
    assert pace.left(["RTE"]) == (15 + 3) / 2  # nothing is known of it yet


def test_what_does_not_need_the_first_goes_on_without_it(tmp_path: Path, glue: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "fails.txt").write_text("random/seed-0/CoLA")
    failing = runner(output, glue, seeds=1)
    failing.run(lambda: None)
    assert set(failing.failures) == {TableRun("random", 0, GLUE["CoLA"])}
    assert TableRun("random", 0, GLUE["RTE"]) in failing.results


WAITS_FOR_THE_OTHER = """
import json, os, sys, time
from pathlib import Path
(spec,) = json.loads(Path(sys.argv[1]).read_text())
folder = Path(spec["folder"])
(folder.parent / f"begun-{folder.name}").write_text(os.environ["DEVICE"])
while len(list(folder.parent.glob("begun-*"))) < 2:
    time.sleep(0.05)
folder.mkdir()
(folder / "result.json").write_text(json.dumps({"settings": spec["settings"], "seconds": 1.0}))
"""


def test_as_many_groups_as_devices_are_done_side_by_side(tmp_path: Path) -> None:
    groups = [
        Group(tmp_path / f"log-{name}", [Job(name, name, "x", tmp_path / name, {}, "none:none", dict)]) for name in "ab"
    ]
    both = JobRunner(
        groups,
        tmp_path,
        lambda job, result: "",
        lambda folder: [sys.executable, "-c", WAITS_FOR_THE_OTHER],
        [{"DEVICE": "0"}, {"DEVICE": "1"}],
    )
    both.run(lambda: None)  # each waits until the other has begun
    assert both.results.keys() == {"a", "b"}
    assert {(tmp_path / f"begun-{name}").read_text() for name in "ab"} == {"0", "1"}


def test_training_tables_are_cut_evenly(tmp_path: Path, glue: Path) -> None:
    cola, rte = GLUE["CoLA"], GLUE["RTE"]
    assert tables_of(cola, glue, None, tmp_path / "rows")[0] == glue / "CoLA" / "train.tsv"
    cut, dev = tables_of(cola, glue, 4, tmp_path / "rows")
    assert cut.read_text() == "row 0\nrow 2\nrow 5\nrow 8\n"  # of eleven without a header
    assert dev == glue / "CoLA" / "dev.tsv"
    assert tables_of(rte, glue, 5, tmp_path / "rows")[0].read_text().split("\n")[:3] == ["row 0", "row 1", "row 3"]
    assert tables_of(rte, glue, 50, tmp_path / "rows")[0].read_text() == (glue / "RTE" / "train.tsv").read_text()


def test_the_specification_of_a_run(tmp_path: Path, glue: Path) -> None:
    output = tmp_path / "out"
    made = runner(output, glue, seeds=1)
    made.run(lambda: None)
    specification: list[dict[str, Any]] = json.loads((output / "runs" / "good" / "seed-0" / "spec.json").read_text())
    assert [spec["action"].rpartition(":")[2] for spec in specification] == ["pretrain", "finetune", "finetune"]
    pretraining, cola, _ = (spec["arguments"] for spec in specification)
    assert pretraining["recipe"] == "mlm"
    assert "schedule.kind=cmtl" in pretraining["overrides"]
    assert cola["model_of"] == specification[0]["folder"]
    fresh = json.loads((output / "runs" / "random" / "seed-0" / "spec.json").read_text())[0]["arguments"]
    assert fresh["model_of"] is None
    assert "size" in fresh["options"]
