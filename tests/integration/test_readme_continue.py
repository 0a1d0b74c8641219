"""The section of docs/pretraining.md that adds an objective to a trained model: as printed, with a tiny model."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.cli import main as cli
from ernie_paddle.pretraining.schedule.stage_tables import cmtl
from helpers.documents import blocks, commands, section
from propeller.learner import Learner
from propeller.run import checkpoint

TEXT = section("docs/pretraining.md", "Add an objective to a trained model")
TINY = {
    "arch.hidden_size": 16, "arch.num_hidden_layers": 1, "arch.num_attention_heads": 2, "arch.intermediate_size": 32,
    "train.batch_tokens": 256, "train.micro_batch_tokens": 256, "train.eval_batches": 1, "train.workers": 0,
}  # fmt: skip
N = 40
OLD = ["knowledge_masking", "capitalization"]
NEW = "sentence_reordering"


def _pretrain(command: str) -> None:
    """Run a printed command in this process, with the sizes of a tiny model."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["ernie", "pretrain"]
    sizes = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    assert cli.main([*words[1:], *sizes]) == 0


def _arrays(path: Path) -> dict[str, Any]:
    opened = checkpoint.verify(path)
    return {**opened.tensors("model.safetensors"), **opened.tensors("training.safetensors")}


def _adopted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Fills with all variables of a Learner as they are after another run's were taken up."""
    seen: list[dict[str, Any]] = []
    adopt = Learner.adopt

    def noting(self: Learner, *arguments: Any) -> Any:
        report = adopt(self, *arguments)
        seen.append({name: array.copy() for name, array in self.state()[0].items()})
        return report

    monkeypatch.setattr(Learner, "adopt", noting)
    return seen


def test_an_objective_is_added(
    manual_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my").mkdir()
    Path("my/corpus").symlink_to(manual_corpus)
    (first,) = (command for command in commands(section("README.md", "Uses")) if "ernie pretrain" in command)
    _pretrain(first)
    recipe, command = commands(TEXT)
    subprocess.run(["bash", "-c", recipe], check=True)
    seen = _adopted(monkeypatch)
    capsys.readouterr()
    _pretrain(command)

    # What is printed: the lines of the document (a smaller model has fewer parameters).
    (promised,) = blocks(TEXT, "text")
    error = capsys.readouterr().err
    for line in promised.splitlines():
        assert re.search(re.sub(r"^\d+", r"\\d+", re.escape(line)), error), line

    # What is kept and what is new.
    before, (now,) = _arrays(Path("my/run/checkpoints") / f"step-{2 * N:08d}"), seen
    assert all(np.array_equal(now[name], array) for name, array in before.items())
    moments = {name.partition("@")[0] for name in before if "@" in name}
    assert {"cls.predictions.decoder_bias", "cls.capitalization.weight", "ernie.encoder.layers.0.norm1.bias"} <= moments
    fresh = set(now) - set(before)
    assert {name.rsplit(".", 1)[0] for name in fresh} == {f"cls.{NEW}", "ernie.pooler.dense"}
    for name in fresh:
        assert name.endswith(".bias") == (not now[name].any())
        assert abs(now[name]).max() < 5 * 0.02

    # The next stage: that of three tasks in the paper's table, and no other.
    log = [json.loads(line) for line in Path("my/longer/log.jsonl").read_text().splitlines()]
    assert {line["name"] for line in log if line["kind"] == "eval"} == {*OLD, NEW, "all_tasks"}
    stage = cmtl([*OLD, NEW], steps_per_task=N).table()[2]
    assert stage == {OLD[0]: N // 4, OLD[1]: N // 4, NEW: N}
    after = _arrays(Path("my/longer/checkpoints/step-00000060"))
    # Adam counts the updates of each: the power of beta 1 after n of them is 0.9 to the power of n + 1.
    for name, updates in (
        ("ernie.embeddings.word_embeddings.weight", 2 * N + sum(stage.values())),
        ("cls.capitalization.weight", N + stage[OLD[1]]),
        (f"cls.{NEW}.weight", N),
    ):
        assert after[f"{name}@beta1_power"] == pytest.approx(0.9 ** (updates + 1), rel=1e-3), name
