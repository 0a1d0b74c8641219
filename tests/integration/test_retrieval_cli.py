"""Retrieval through the command line: planted pairs are learnt, and found again by all that takes a model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.cli.main import main
from helpers.finetune_toy import WORDS, write_pretrained

MEANINGS = list(itertools.combinations(range(10), 3))
"""120 sets of words: those of different pairs must differ, or there would be two right answers."""


def write_pairs(path: Path, meanings: Iterable[Sequence[int]], seed: int) -> Path:
    """The second text says the same in other words (w10 for w0, and so on) and in another order."""
    rng = np.random.default_rng(seed)
    lines = ["question\tanswer"]
    for words in meanings:
        one, two = rng.permutation(words), rng.permutation(words)
        lines.append(" ".join(WORDS[i] for i in one) + "\t" + " ".join(WORDS[i + 10] for i in two))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval")
    write_pretrained(folder / "start")
    drawn = np.random.default_rng(0).integers(len(MEANINGS), size=400)
    write_pairs(folder / "train.tsv", (MEANINGS[number] for number in drawn), 1)
    write_pairs(folder / "dev.tsv", MEANINGS[:97], 2)
    arguments = ["finetune", "--type", "retrieval", "--model", str(folder / "start"), "--output", str(folder / "run")]
    arguments += ["--train", str(folder / "train.tsv"), "--dev", str(folder / "dev.tsv"), "--text_a", "question"]
    arguments += ["--text_b", "answer", "--max_length", "16", "--epochs", "4", "--lr", "1e-2", "--batch_size", "32"]
    assert main(arguments) == 0
    assert main(["export", "--model", str(folder / "run"), "--output", str(folder / "exported")]) == 0
    return folder


def test_planted_pairs_are_learnt(trained: Path) -> None:
    results = json.loads((trained / "run" / "results.json").read_text())
    assert results["rows"] == 97
    assert results["baseline"]["accuracy"] == pytest.approx(1 / 97)
    assert results["best"]["accuracy"] > 0.9


@pytest.mark.parametrize("batch", ["5", "64"])
@pytest.mark.parametrize("kind", ["run", "exported"])
def test_both_kinds_evaluate_as_in_training_whatever_the_batch(
    trained: Path, kind: str, batch: str, tmp_path: Path
) -> None:
    arguments = ["evaluate", "--model", str(trained / kind), "--data", str(trained / "dev.tsv"), "--batch", batch]
    assert main([*arguments, "--output", str(tmp_path / "report.json")]) == 0
    found = json.loads((tmp_path / "report.json").read_text())["model"]
    best = json.loads((trained / "run" / "results.json").read_text())["best"]
    assert found == pytest.approx(best, abs=0.011)  # rounding may turn one pair around


def test_predict_finds_the_nearest_text_of_the_whole_table(trained: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    arguments = ["predict", "--model", str(trained / "exported"), "--input", str(trained / "dev.tsv")]
    assert main([*arguments, "--output", str(answers)]) == 0
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    table = [line.split("\t") for line in (trained / "dev.tsv").read_text().splitlines()]
    assert [row["line"] for row in rows] == list(range(2, 99))
    right = [row["found_in_line"] == row["line"] for row in rows]
    best = json.loads((trained / "run" / "results.json").read_text())["best"]
    assert np.mean(right) == pytest.approx(best["accuracy_a_to_b"], abs=0.011)
    for row in rows:
        assert row["prediction"] == table[row["found_in_line"] - 1][1]
        assert -1.001 < row["partner_similarity"] <= row["similarity"] + 1e-6 < 1.001


def test_a_run_that_goes_on_needs_the_same_candidates(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["finetune", "--type", "retrieval", "--model", str(trained / "start"), "--output", str(trained / "run")]
    arguments += ["--train", str(trained / "train.tsv"), "--dev", str(trained / "dev.tsv"), "--text_a", "question"]
    arguments += ["--text_b", "answer", "--max_length", "16", "--epochs", "4", "--lr", "1e-2", "--batch_size", "32"]
    assert main([*arguments, "--micro_batch", "8"]) == 2
    assert "micro_batch" in capsys.readouterr().err.splitlines()[-1]
