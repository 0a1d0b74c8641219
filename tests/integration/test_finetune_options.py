"""The training options of fine-tuning through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie_paddle.cli.main import main
from ernie_paddle.models.config import ErnieConfig
from helpers.cli import exit_code
from helpers.finetune_toy import CONFIG, write_pretrained, write_table

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


def test_a_constant_rate_stays(folder: Path, tmp_path: Path) -> None:
    settings = ["--epochs", "2", "--batch_size", "13", "--lr", "1e-3", "--warmup", "0.2", "--schedule", "constant"]
    assert main(command(folder, tmp_path / "run", *settings)) == 0
    assert [step["lr"] for step in steps_of(tmp_path / "run")] == pytest.approx([5e-4] + [1e-3] * 9)


def test_a_cut_off_run_with_all_options_learns_and_continues_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout, two passes and moved word vectors depend on nothing that a checkpoint does not hold."""
    from propeller.learner import Learner, StepResult

    write_pretrained(tmp_path / "start", CONFIG)
    write_table(tmp_path / "train.tsv", 200, 0, "first")
    write_table(tmp_path / "dev.tsv", 37, 1, "first")
    options = ["--rdrop", "1", "--fgm", "0.01", "--class_weights", "balanced", "--layer_decay", "0.9"]
    options += ["--dropout", "0.1", "--lr", "1e-2", "--batch_size", "16", "--epochs", "4"]
    plain_step, done = Learner.train_step, 0

    def step_and_copy(self: Learner, *arguments: Any) -> StepResult:
        nonlocal done
        done += 1
        if done == 20:  # what a run that is cut off here would leave, 6 steps after a checkpoint
            shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        return plain_step(self, *arguments)

    monkeypatch.setattr(Learner, "train_step", step_and_copy)
    for name in ("whole", "cut"):
        assert main(command(tmp_path, tmp_path / name, *options, "--save_steps", "7")) == 0
    assert done == 52 + 52 - 14
    found = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert found["best"]["accuracy"] > 0.95 > found["baseline"]["accuracy"] + 0.3
    for step in steps_of(tmp_path / "whole"):
        assert step["losses"]["adversarial_classification"] != step["losses"]["classification"]
        assert step["losses"]["rdrop"] > 0
    whole, continued = arrays_of(tmp_path / "whole"), arrays_of(tmp_path / "cut")
    for name in whole:
        assert np.array_equal(whole[name], continued[name]), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class_weights", "1,2,3"], "3 numbers for 2 labels, which are no, yes"),
        (["--rdrop", "1"], "this model's dropout is 0"),
        (["--dropout", "1"], "'1' is not a number from 0 up to (not including) 1"),
        (["--layer_decay", "1.5"], "'1.5' is not a number above 0, at most 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert exit_code(command(folder, tmp_path / "run", *options)) == 2
    assert message in capsys.readouterr().err
