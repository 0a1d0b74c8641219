"""The feature-based approach through the command line: planted entities are learnt, and found by the exported model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie_paddle.cli.main import main
from helpers.cli import exit_code
from helpers.finetune_toy import WORDS, write_pretrained


def write_tagged(path: Path, sentences: int, seed: int) -> Path:
    """w0 is an entity, of a type that the next word decides: a model of single words cannot tell which."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(sentences):
        words = rng.choice(WORDS[:4], size=rng.integers(3, 20)).tolist()
        for word, following in zip(words, [*words[1:], ""], strict=True):
            lines.append(f"{word} {'O' if word != 'w0' else 'B-PER' if following in ('w1', 'w2') else 'B-LOC'}")
        lines.append("")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_frozen_encoder_gives_features_to_learn_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start, run, exported = (tmp_path / name for name in ("start", "run", "exported"))
    write_pretrained(start)
    train, dev = write_tagged(tmp_path / "train.conll", 200, 0), write_tagged(tmp_path / "dev.conll", 40, 1)
    arguments = ["finetune", "--type", "labelling", "--model", str(start), "--train", str(train), "--dev", str(dev)]
    arguments += ["--features", "embeddings", "--max_length", "32", "--epochs", "6", "--lr", "3e-2"]
    arguments += ["--batch_size", "8", "--micro_batch", "4", "--output", str(run)]
    assert main(arguments) == 0
    results = json.loads((run / "results.json").read_text())
    assert results["baseline"]["f1"] == 0
    assert results["best"]["f1"] > 0.7  # half of the entities would be right without the next word
    assert main(["export", "--model", str(run), "--output", str(exported)]) == 0
    for model, batch in ((run, "7"), (exported, "64"), (exported, "3")):
        report = tmp_path / "report.json"
        words = ["evaluate", "--model", str(model), "--data", str(dev), "--batch", batch, "--output", str(report)]
        assert main(words) == 0
        assert json.loads(report.read_text())["model"] == pytest.approx(results["best"], abs=1e-5)
    before = load_file(start / "model.safetensors")
    after = load_file(next((run / "checkpoints").glob("step-*")) / "model.safetensors")
    shared = [name for name in after if name.startswith("ernie.")]
    assert len(shared) == 21
    assert all(np.array_equal(before[name], after[name]) for name in shared)


def test_other_tasks_refuse_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["finetune", "--type", "classification", "--model", str(write_pretrained(tmp_path / "start"))]
    arguments += ["--train", "t.tsv", "--dev", "d.tsv", "--output", str(tmp_path / "run"), "--features", "last"]
    assert exit_code(arguments) == 2
    assert "--features is for labelling" in capsys.readouterr().err
