"""Without PaddlePaddle the verbs about text work, and all others say in one line how to install it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from ernie_paddle.checkpoints.layouts import write_model_folder
from ernie_paddle.cli.main import VERBS, main
from ernie_paddle.finetune.task_type import task_class
from helpers.paths import ROOT
from helpers.released import PIECES, weights
from helpers.without_paddle import link_packages, run_without_paddle

ADVICE = 'PaddlePaddle is not installed; install it with `PYTHON -m pip install "paddlepaddle>=3.3,<3.4"`\n'

WORKS = {
    "vocab": "text.txt --output {new} --size 60",
    "prepare": "text.txt --vocab v.txt --output {new} --workers 0",
    "stats": "corpus",
    "prepare-pairs": "table.tsv --text_a a --text_b b --label label --vocab v.txt --output {new}",
    "mine-discourse": "text.txt --output {new}",
    "convert": "--from model --to {new} --format hf",
    "inspect": "corpus",
    "list": "recipes",
}
NEEDS_PADDLE = {
    "pretrain": "--recipe quickstart --data corpus --output {new}",
    "finetune": "--model model --train table.tsv --dev table.tsv --text_a a --label label --output {new}",
    "evaluate": "--model tuned --data table.tsv",
    "predict": "--model tuned --input table.tsv",
    "embed": "--model model --input table.tsv --text a --output {new}",
    "export": "--model tuned --output {new}",
    "benchmarks": "glue --data_dir glue --tasks CoLA --size tiny --output_dir {new}",
    "tables": "ernie2 --size tiny --output {new}",
    "quickstart": "--output {new}",
    "launch": f"--nproc_per_node 2 {ROOT / 'pretrain.py'} --recipe quickstart",
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_packages(tmp_path_factory.mktemp("without") / "packages")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's files: raw text, a table, a vocabulary, a corpus, a pre-trained model and a classifier."""
    place = tmp_path_factory.mktemp("files")
    (place / "text.txt").write_text("\n\n".join(["w1 w2 w3 w4 w5.\nHowever, w3 w4 w5 w6 w7."] * 20))
    (place / "table.tsv").write_text("a\tb\tlabel\n" + "w1 w2\tw3\tyes\nw4\tw5 w6\tno\n" * 10)
    (place / "v.txt").write_text("\n".join(PIECES))
    words = [str(place / "text.txt"), "--vocab", str(place / "v.txt"), "--output", str(place / "corpus")]
    assert main(["prepare", *words, "--workers", "0"]) == 0
    (place / "glue" / "CoLA").mkdir(parents=True)
    for split in ("train", "dev"):
        (place / "glue" / "CoLA" / f"{split}.tsv").write_text("src\t1\t\tw1 w2\nsrc\t0\t\tw3\n" * 10)
    settings: dict[str, object] = {
        "text_a": "a",
        "text_b": None,
        "label": "label",
        "labels": ["no", "yes"],
        "max_length": 8,
    }
    settings |= {"metric": "accuracy", "header": True}
    for name in ("model", "tuned"):
        write_model_folder(place / name, weights(place / f"weights_of_{name}"), "ours")
    task = task_class("classification").from_dict(settings)
    (place / "tuned" / "step-00000000" / "task.json").write_text(json.dumps(task.to_dict()))
    return place


def test_every_verb_is_tried() -> None:
    assert {*WORKS, *NEEDS_PADDLE, "doctor"} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help(packages: Path, folder: Path, verb: str) -> None:
    done = run_without_paddle(packages, "-m", "ernie_paddle.cli.main", verb, "--help", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"usage: ernie {verb}" in done.stdout


@pytest.mark.parametrize("verb", WORKS)
def test_verbs_that_need_no_paddle(packages: Path, folder: Path, tmp_path: Path, verb: str) -> None:
    words = WORKS[verb].format(new=tmp_path / "new").split()
    done = run_without_paddle(packages, "-m", "ernie_paddle.cli.main", verb, *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert ("{new}" in WORKS[verb]) == (tmp_path / "new").exists()


@pytest.mark.parametrize("what", ["objectives", "schedules", "tasks", "benchmarks"])
def test_other_lists(packages: Path, folder: Path, what: str) -> None:
    done = run_without_paddle(packages, "-m", "ernie_paddle.cli.main", "list", what, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "unusable" not in done.stdout


@pytest.mark.parametrize("path", ["model", "tuned", "v.txt"])
def test_inspect_takes_models_and_vocabularies(packages: Path, folder: Path, path: str) -> None:
    done = run_without_paddle(packages, "-m", "ernie_paddle.cli.main", "inspect", path, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "pieces" in done.stdout


@pytest.mark.parametrize("verb", NEEDS_PADDLE)
def test_verbs_that_need_paddle(packages: Path, folder: Path, tmp_path: Path, verb: str) -> None:
    words = NEEDS_PADDLE[verb].format(new=tmp_path / "new").split()
    done = run_without_paddle(packages, "-m", "ernie_paddle.cli.main", verb, *words, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert on_any_machine(done.stderr) == f"ernie {verb}: {ADVICE}"
    assert done.stdout == ""
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "export"])
def test_launch_files(packages: Path, folder: Path, tmp_path: Path, verb: str) -> None:
    words = NEEDS_PADDLE[verb].format(new=tmp_path / "new").split()
    done = run_without_paddle(packages, ROOT / f"{verb}.py", *words, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert on_any_machine(done.stderr) == f"ernie {verb}: {ADVICE}"


def test_doctor(packages: Path, folder: Path) -> None:
    done = run_without_paddle(packages, "-m", "ernie_paddle.cli.main", "doctor", cwd=folder)
    assert done.returncode == 1
    assert done.stderr == ""
    assert re.search(r"wheel +not installed", done.stdout)
    assert "PaddlePaddle is not installed: `python -m pip install " in done.stdout.split("what to change")[1]


def test_mistakes_come_before_paddle(packages: Path, folder: Path) -> None:
    """A misspelt recipe or option is named although nothing could run."""
    for words, message in (
        (["--recipe", "quickstrat"], "no recipe is named 'quickstrat'"),
        (["--recpie", "x"], "no option --recpie"),
    ):
        done = run_without_paddle(packages, "-m", "ernie_paddle.cli.main", "pretrain", *words, cwd=folder)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def on_any_machine(text: str) -> str:
    """The advice as it would be on a machine without a GPU, whatever Python it names."""
    text = text.replace(f"`{shlex.quote(sys.executable)} -m", "`PYTHON -m").replace("`python -m", "`PYTHON -m")
    return re.sub(r'paddlepaddle-gpu(>=[\d.,<]+") -i https://\S+/`', r"paddlepaddle\1`", text)
