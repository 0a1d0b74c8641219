"""The training options of fine-tuning through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finetune_toy import CONFIG, write_pretrained, write_table
from safetensors.numpy import load_file

from ernie_paddle.cli.main import main
from ernie_paddle.models.config import ErnieConfig

ENCODER = "ernie.encoder.layers"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers without dropout, and tables of the rule "first"."""
    path = tmp_path_factory.mktemp("options")
    write_pretrained(path / "start", ErnieConfig(**{**CONFIG.to_dict(), "num_hidden_layers": 2}))
    write_table(path / "train.tsv", 64, 0, "first")
    write_table(path / "dev.tsv", 37, 1, "first")
    return path


def command(folder: Path, output: Path, *more: str) -> list[str]:
    words = ["finetune", "--model", str(folder / "start"), "--train", str(folder / "train.tsv"), "--log_every", "1"]
    return [*words, "--dev", str(folder / "dev.tsv"), "--text_a", "a", "--output", str(output), *more]


def steps_of(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "step"]


def arrays_of(run: Path) -> dict[str, np.ndarray]:
    return load_file(max((run / "checkpoints").glob("step-*")) / "model.safetensors")


def test_decay_epsilon_and_schedule_reach_the_optimizer(folder: Path, tmp_path: Path) -> None:
    once = ["--epochs", "1", "--batch_size", "64", "--lr", "1e-3", "--schedule", "constant", "--warmup", "0"]
    once += ["--weight_decay", "0"]
    assert main(command(folder, tmp_path / "decayed", *once, "--layer_decay", "0.5", "--adam_epsilon", "1e-14")) == 0
    assert main(command(folder, tmp_path / "flat", *once, "--adam_epsilon", "1e4")) == 0
    assert [step["lr"] for step in steps_of(tmp_path / "decayed")] == [1e-3]
    before, decayed, flat = load_file(folder / "start" / "model.safetensors"), *(
        arrays_of(tmp_path / name) for name in ("decayed", "flat")
    )  # fmt: skip
    depths = {"ernie.embeddings": 3, f"{ENCODER}.0": 2, f"{ENCODER}.1": 1, "ernie.pooler": 0}
    for name, array in before.items():
        # The gradient of a key's bias is zero but for rounding.
        for depth in [depth for prefix, depth in depths.items() if name.startswith(prefix) and "k_proj.b" not in name]:
            # The first step of Adam is the rate itself wherever the gradient is far above epsilon.
            assert np.abs(decayed[name] - array).max() == pytest.approx(1e-3 * 0.5**depth, rel=0.02), name
            assert np.abs(flat[name] - array).max() < 1e-6, name


def test_rates_follow_the_schedule(folder: Path, tmp_path: Path) -> None:
    rates = {}
    for schedule in ("linear", "constant"):
        settings = ["--epochs", "2", "--batch_size", "13", "--lr", "1e-3", "--warmup", "0.2", "--schedule", schedule]
        assert main(command(folder, tmp_path / schedule, *settings)) == 0
        rates[schedule] = [step["lr"] for step in steps_of(tmp_path / schedule)]
    assert rates["constant"] == pytest.approx([5e-4] + [1e-3] * 9)
    assert rates["linear"] == pytest.approx([5e-4, *(1e-3 * k / 8 for k in range(8, -1, -1))])
