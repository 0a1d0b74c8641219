"""The commands and Python examples of the documents work as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.manual_text import write_quickstart_data
from helpers.documents import NAMES, blocks, commands, section, text_of
from helpers.paths import ROOT, environment

TINY = (
    "--set arch.hidden_size=16 --set arch.num_hidden_layers=1 --set arch.num_attention_heads=2 "
    "--set arch.intermediate_size=32 --set train.batch_tokens=256 --set train.micro_batch_tokens=256 "
    "--set train.eval_batches=1 --set train.workers=0"
)
ORDER = ("docs/data.md", "docs/pretraining.md", "docs/finetuning.md", "docs/checkpoints.md", "docs/multi-gpu.md")
"""Documents whose commands follow those of the README, and may follow those of earlier documents."""


class Reader:
    """A person who has done the quickstart's first step, and types what the documents print."""

    def __init__(self, folder: Path, more: str = "") -> None:
        """`more` is added to `ernie pretrain` and to a launched pretrain.py."""
        self.folder = folder
        write_quickstart_data(folder / "quickstart" / "text")
        (folder / "bin").mkdir()
        program = folder / "bin" / "ernie"
        start = f'exec "{sys.executable}" -m ernie_paddle.cli.main'
        program.write_text(
            f'#!/bin/sh\ncase "$1 $*" in pretrain*|launch*pretrain.py*) {start} "$@" {more};; *) {start} "$@";; esac\n'
        )
        program.chmod(0o755)
        (folder / "pretrain.py").symlink_to(ROOT / "pretrain.py")
        self.variables = environment(PATH=f"{program.parent}:{os.environ['PATH']}")

    def run(self, *words: str) -> str:
        """What a program prints that ends well."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, f"{words[-1]}\n{done.stderr}"
        return done.stdout

    def shell(self, command: str) -> str:
        """What a command prints."""
        return self.run("bash", "-c", f"set -o pipefail; {command}")


@pytest.mark.timeout(600)
def test_the_readme(tmp_path: Path) -> None:
    person = Reader(tmp_path)
    uses = section("README.md", "Uses")
    printed = {command: person.shell(command) for command in commands(uses)}
    verbs = [command.split("ernie ")[1].split()[0] for command in printed]
    assert verbs == ["vocab", "prepare", "pretrain", "finetune", "evaluate", "export", "predict"]
    outputs = dict(zip(verbs, printed.values(), strict=True))
    assert "held-out unigram entropy" in outputs["pretrain"]
    assert "baseline" in outputs["finetune"]
    answers = [line.split("\t") for line in outputs["predict"].splitlines()]
    assert len(answers) == 4  # a header and three rows: line, label, a probability for each of the labels, problem
    assert all(len(row) == len(answers[0]) == 2 + 8 + 1 for row in answers)
    probabilities = [sum(float(cell) for cell in row[2:-1]) for row in answers[1:]]
    assert all(abs(total - 1) < 1e-5 for total in probabilities)
    (example,) = blocks(uses, "python")
    first, *rest = person.run(sys.executable, "-c", example).splitlines()[-2:]
    assert first.startswith("my/from_python/checkpoints/step-")
    assert 0 <= float(first.split()[-1]) <= 1
    assert rest[0].startswith("2 ")


@pytest.mark.timeout(900)
def test_the_other_documents(tmp_path: Path) -> None:
    """With a tiny model, and without the text that test_readme_continue.py tries."""
    person = Reader(tmp_path, TINY)
    for command in commands(section("README.md", "Uses")):
        if not re.search("ernie (evaluate|predict)", command):  # nothing builds on these
            person.shell(command)
    printed: dict[str, str] = {}
    for name in ORDER:
        for command in commands(text_of(name)):
            printed[command] = person.shell(command)
        if name == "docs/data.md":
            (example,) = blocks(text_of(name), "python")
            printed["stages"] = person.run(sys.executable, "-c", example)
    assert "input_ids int64" in printed["stages"]
    assert "mlm_positions int64" in printed["stages"]
    vectors = np.load(tmp_path / "my" / "vectors.npy")
    assert len(vectors) == len((tmp_path / "quickstart" / "text" / "dev.tsv").read_text().splitlines()) - 1
    (before,) = (text for command, text in printed.items() if command.startswith("ernie evaluate --model my/back"))
    after = person.shell("ernie evaluate --model my/tuned --data quickstart/text/dev.tsv")
    assert before.splitlines()[1:] == after.splitlines()[1:]
    assert (tmp_path / "my" / "for_transformers" / "model.safetensors").is_file()
    assert (tmp_path / "my" / "run2" / "checkpoints" / "step-00000080").is_dir()


def test_no_document_with_commands_or_examples_is_left_out() -> None:
    tried = {"README.md", *ORDER}
    assert [name for name in NAMES if blocks(text_of(name), "bash") and name not in tried] == []
    tried = {"README.md", "docs/data.md", "docs/extending.md"}
    assert [name for name in NAMES if blocks(text_of(name), "python") and name not in tried] == []
