"""An objective completes its batches with the current parameters: in training, in evaluation, and after a kill."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ernie_paddle.objectives as package
from ernie_paddle.objectives.registry import registry
from ernie_paddle.pretraining.batches.step_data import RunReader
from ernie_paddle.pretraining.recipe_files import load_recipe
from ernie_paddle.pretraining.run import Pretraining
from helpers.paths import ROOT
from helpers.pretrain_runs import STEPS, arguments, ernie, log

FOLDER = ROOT / "tests" / "helpers" / "objectives_of_tests"
RECIPE = """
arch: quickstart
data: quickstart
train: quickstart
tasks:
  echo: {objectives: {nsp: {}, echo: {}, mlm: {}}}
  order: {objectives: {sentence_reordering: {max_segments: 2}, echo: {}}}
schedule: {kind: KIND, KIND_AMOUNT}
"""
START = f"""
import os, signal, sys
import ernie_paddle.objectives as package
package.__path__.append({str(FOLDER)!r})
from propeller.run import trainer
from ernie_paddle.cli.main import main
"""
KILLED = (
    START
    + """
from propeller.learner import Learner
step = Learner.train_step
def dying(self, *arguments):
    if self.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)
Learner.train_step = dying
sys.exit(main(sys.argv[1:]))
"""
)
WHOLE = START + "sys.exit(main(sys.argv[1:]))\n"


def recipe_file(folder: Path, kind: str, amount: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.replace("KIND_AMOUNT", amount).replace("KIND", kind))
    return path


@pytest.fixture
def echo() -> Iterator[None]:
    package.__path__.append(str(FOLDER))
    registry.cache_clear()
    yield
    package.__path__.remove(str(FOLDER))
    registry.cache_clear()


def test_a_killed_run_completes_its_batches_to_the_same_bits(manual_corpus: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, "multi_task", f"total_steps: {STEPS}")
    words = [
        str(recipe) if word == "quickstart" else word
        for word in arguments(manual_corpus, tmp_path / "OUT", train__workers=0)
    ]
    at = words.index(f"schedule.steps_per_task={STEPS // 2}")
    del words[at - 1 : at + 1]

    def into(name: str) -> list[str]:
        return [str(tmp_path / name) if word == str(tmp_path / "OUT") else word for word in words]

    whole = ernie(*into("whole"), script=WHOLE)
    assert whole.returncode == 0, whole.stderr
    assert ernie(*into("killed"), script=KILLED).returncode == -signal.SIGKILL
    again = ernie(*into("killed"), script=WHOLE)
    assert again.returncode == 0, again.stderr
    assert "resuming after step 5" in again.stderr
    assert log(tmp_path / "killed") == log(tmp_path / "whole")
    names = {line["name"] for line in log(tmp_path / "whole") if line["kind"] == "eval"}
    assert {"echo", "order"} <= names


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("kind", ["multi_task", "sum"])
def test_what_is_filled_in_follows_the_parameters(manual_corpus: Path, tmp_path: Path, kind: str) -> None:
    """Also where two sets of rows make one step; evaluation fills in as training does."""
    recipe = load_recipe(
        str(recipe_file(tmp_path, kind, "total_steps: 4")),
        ["train.workers=0", "arch.hidden_size=16", "arch.num_attention_heads=2", "arch.num_hidden_layers=1",
         "arch.intermediate_size=32", "data.max_length=32", "train.batch_tokens=512", "train.learning_rate.peak=0.05",
         "train.learning_rate.kind=constant", "train.eval_batches=1", "train.micro_batch_tokens=null"],
        [str(manual_corpus)],
    )  # fmt: skip
    training = Pretraining(recipe, tmp_path / "run")
    reader = RunReader(training.schedule, training.train_data)
    batch = reader(0)
    prefixes = {name[: -len("echo_placeholders")] for name in batch.micro_batches[0] if "echo_placeholders" in name}
    assert len(prefixes) == (2 if kind == "sum" else 1)
    filled = []
    for step in range(3):
        given = training.step_input(step, batch)
        for prefix in prefixes:
            ids, raw = (
                given.micro_batches[0][f"{prefix}input_ids"],
                batch.micro_batches[0][f"{prefix}echo_placeholders"],
            )
            assert (np.delete(ids, 1, axis=1) == np.delete(raw, 1, axis=1)).all()
            assert (raw[:, 1] == training.tokenizer.vocab.mask).all()
        filled.append(
            np.concatenate([given.micro_batches[0][f"{prefix}input_ids"][:, 1] for prefix in sorted(prefixes)])
        )
        training.learner.train_step(batch.task, given.micro_batches, 0.05)
    assert all((one != other).any() for one, other in itertools.pairwise(filled))
    (before,) = (figures for name, figures in training.evaluate() if name == "echo")
    data = training.heldout["echo"].step(0).micro_batches[0]
    completed = training.complete("echo", data, 0)
    found = training.learner.evaluate("echo", [completed])
    assert found["echo"] == before["echo"]
    assert training.learner.evaluate("echo", [data])["echo"] != before["echo"]
