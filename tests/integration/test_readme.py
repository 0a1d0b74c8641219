"""The commands of the README work as printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ernie_paddle.manual_text import write_quickstart_data
from helpers.documents import README, commands
from helpers.paths import ROOT, environment


def test_pretrain_on_your_own_text_and_prepare_pairs(tmp_path: Path) -> None:
    write_quickstart_data(tmp_path / "quickstart" / "text")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ernie"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ernie_paddle.cli.main "$@"\n')
    program.chmod(0o755)
    variables = environment(PATH=f"{program.parent}:{os.environ['PATH']}")
    printed = {}
    for command in commands("Pre-train on your own text") + commands("Objectives, schedules, recipes"):
        result = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        printed[command] = result.stdout
    words = [command.split("ernie ")[1].split()[0] for command in printed]
    assert words[:5] == ["vocab", "prepare", "inspect", "pretrain", "pretrain"]
    assert words[5:] == ["finetune", "evaluate", "export", "predict", "mine-discourse", "prepare-pairs"]
    last = list(printed.values())
    assert "held-out unigram entropy" in last[4]
    assert "baseline" in last[5]
    answers = [line.split("\t") for line in last[8].splitlines()]
    assert len(answers) == 4  # a header and three rows: line, label, a probability for each of the labels, problem
    assert all(len(row) == len(answers[0]) == 2 + 8 + 1 for row in answers)
    probabilities = [sum(float(cell) for cell in row[2:-1]) for row in answers[1:]]
    assert all(abs(total - 1) < 1e-5 for total in probabilities)
    shutil.rmtree(tmp_path / "my")


def test_every_file_of_the_map_exists() -> None:
    section = README.split("\n## The map of the code\n")[1]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(names) > 20
    assert not [name for name in names if not (ROOT / name).exists()]
