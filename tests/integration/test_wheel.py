"""The wheel alone is the whole project: its modules, its configurations, its programs and its licence."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

import ernie_paddle
from ernie_paddle.cli.main import VERBS
from helpers.paths import ROOT

PACKAGES = ("ernie_paddle", "propeller", "reader")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", *PACKAGES, "configs")
LEAST_SETUPTOOLS = 77
"""The first that knows a licence by its SPDX expression, as pyproject.toml gives it."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from a copy of the project without anything that an earlier build left there."""
    found = int(metadata.version("setuptools").partition(".")[0])
    assert found >= LEAST_SETUPTOOLS, f"setuptools {found} is too old: `bash run.sh install dev` brings a newer one"
    source, built = (tmp_path_factory.mktemp(name) for name in ("source", "built"))
    for name in FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "-q", "--target", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environ)


def ernie(installed: Path, cwd: Path, *arguments: str) -> str:
    done = run(installed, cwd, "-m", "ernie_paddle.cli.main", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_and_configuration_is_in_it(wheel: Path) -> None:
    wanted = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    wanted |= {f"ernie_paddle/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == wanted


def test_metadata(installed: Path) -> None:
    (info,) = installed.glob("*.dist-info")
    headers = Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    assert headers["Name"] == "ernie-paddle"
    assert headers["Version"] == ernie_paddle.__version__
    assert headers["License-Expression"] == "Apache-2.0"
    assert headers["License-File"] == "LICENSE"
    assert (info / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    programs = configparser.ConfigParser()
    programs.read(info / "entry_points.txt")
    assert dict(programs["console_scripts"]) == {
        "ernie": "ernie_paddle.cli.main:main",
        "fleetrun": "propeller.tools.fleetrun:main",
    }


def test_modules_and_configurations_come_from_it(installed: Path, tmp_path: Path) -> None:
    """Also where another copy of the project is installed for editing, as it is where these tests run."""
    code = (
        "import ernie_paddle.cli.main, propeller.tools.fleetrun, reader.tokenizers.load, sys\n"
        "from ernie_paddle.yaml_configs import configs_dir\n"
        "print(configs_dir())\n"
        f"print(*(m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] in {PACKAGES}), sep='\\n')\n"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    places = done.stdout.splitlines()
    assert places[0] == str(installed / "ernie_paddle" / "configs")
    assert len(places) > 10
    assert [place for place in places if not place.startswith(f"{installed}{os.sep}")] == []


def test_help_of_every_verb(installed: Path, tmp_path: Path) -> None:
    """In one process, since each of its own would load the same modules."""
    code = (
        "import contextlib, io, sys\n"
        "from ernie_paddle.cli.main import VERBS, main\n"
        "for verb in VERBS:\n"
        "    text = io.StringIO()\n"
        "    with contextlib.redirect_stdout(text):\n"
        "        try:\n"
        "            code = main([verb, '--help'])\n"
        "        except SystemExit as stop:\n"
        "            code = stop.code\n"
        "    print(verb, code, text.getvalue().split()[:3])\n"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{verb} 0 ['usage:', 'ernie', '{verb}']" for verb in VERBS]


def test_verbs_work(installed: Path, tmp_path: Path) -> None:
    assert ernie(installed, tmp_path, "--version") == f"ernie {ernie_paddle.__version__}\n"
    recipes = {line.split()[0] for line in ernie(installed, tmp_path, "list", "recipes").splitlines()}
    assert recipes == {path.stem for path in (ROOT / "configs" / "recipes").glob("*.yaml")}
    assert "glue/CoLA" in ernie(installed, tmp_path, "list", "benchmarks")
    (tmp_path / "text.txt").write_text("\n\n".join(["A mill stood by the river.\nThe wheel was still."] * 20))
    (tmp_path / "v.txt").write_text(
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nmill\nstood\nby\nthe\nriver\nwheel\nwas\n.\n"
    )
    words = ["text.txt", "--vocab", "v.txt", "--output", "corpus", "--workers", "0", "--heldout", "0.1"]
    prepared = ernie(installed, tmp_path, "prepare", *words)
    # Of the twelve pieces of a document only "still" is not in the vocabulary.
    assert re.search(r"train +18 documents +36 sentences +216 tokens +\[UNK\] 8\.333%", prepared)
    assert "corpus" in ernie(installed, tmp_path, "inspect", "corpus")


def test_the_whole_chain_of_verbs(installed: Path, tmp_path: Path) -> None:
    """From raw text to predictions of an exported model, by the programs that pip installed."""
    (tmp_path / "text.txt").write_text("\n\n".join(["A mill stood by the river.\nThe wheel was still."] * 20))
    rows = "".join(f"the mill {'stood' if n % 2 else 'was still'}\tthe river\t{'ab'[n % 2]}\n" for n in range(16))
    (tmp_path / "t.tsv").write_text("x\ty\tlabel\n" + rows)
    train = ["--recipe", "quickstart", "--data", "corpus", "--output", "pre"]
    for setting in (
        "arch=tiny", "arch.vocab_size=null", "data.max_length=16", "data.min_tokens=2", "train.batch_tokens=64",
        "train.learning_rate.warmup_steps=1", "train.workers=0", "schedule={kind: sum, total_steps: 2}",
    ):  # fmt: skip
        train += ["--set", setting]
    table = ["--text_a", "x", "--label", "label"]
    for verb, *words in (
        ["vocab", "text.txt", "--output", "vocab", "--size", "60"],
        ["prepare", "text.txt", "--vocab", "vocab", "--output", "corpus", "--workers", "0", "--heldout", "0.1"],
        ["stats", "corpus"],
        ["prepare-pairs", "t.tsv", "--text_a", "x", "--text_b", "y", "--label", "label", "--vocab", "vocab",
         "--output", "pairs"],
        ["pretrain", *train],
        ["finetune", "--train", "t.tsv", "--dev", "t.tsv", *table, "--model", "pre", "--output", "fine",
         "--epochs", "1"],
        ["evaluate", "--model", "fine", "--data", "t.tsv"],
        ["embed", "--model", "pre", "--input", "t.tsv", "--text", "x", "--output", "vectors.npy"],
        ["export", "--model", "fine", "--output", "exported"],
        ["convert", "--from", "pre", "--to", "hf", "--format", "hf"],
        ["inspect", "exported"],
    ):  # fmt: skip
        program = [sys.executable, str(installed / "bin" / "ernie"), verb, *words]
        environ = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path, env=environ)
        assert done.returncode == 0, (verb, done.stderr)
    answers = [ernie(installed, tmp_path, "predict", "--model", m, "--input", "t.tsv") for m in ("fine", "exported")]
    labels = [[line.split("\t")[1] for line in answer.splitlines()] for answer in answers]
    assert len(labels[0]) == 17
    assert labels[0] == labels[1]
