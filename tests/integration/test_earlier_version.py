"""Corpora, run folders and exported models that version 0.1 wrote open, continue and answer as they did there.

tests/data/version_0.1.tar.gz holds what that version made of a few made-up sentences: a corpus of documents and one of
pairs, a finished pre-training run and one killed at step 10, a finished fine-tuning run and one killed at step 11, the
exported model with its answers and scores, and what `ernie inspect` printed.
"""

from __future__ import annotations

import json
import shlex
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie_paddle.cli.main import main
from helpers.paths import ROOT
from helpers.pretrain_runs import log
from reader.corpora.corpus import read_corpus_info

TOLERANCE = 2e-4
"""Largest difference of losses after a few steps: the recording processor may be another one."""
FINETUNE = (
    "finetune --model whole --train train.tsv --dev dev.tsv --text_a text --epochs 3 --batch_size 8 --lr 5e-3 "
    "--max_length 16 --save_steps 4 --log_every 1 --output tuned_stopped"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the earlier version left, unpacked; it is also the working directory, since paths there are relative."""
    with tarfile.open(ROOT / "tests" / "data" / "version_0.1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_alike(found: Any, wanted: Any, where: str = "") -> None:
    """Equal, but for the last digits of numbers."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key in wanted:
            assert_alike(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=TOLERANCE, rel=TOLERANCE), where
    elif where.endswith(".samples"):
        # The earlier version called an epoch a pass.
        assert found.replace("(pass ", "(epoch ") == wanted.replace("(pass ", "(epoch "), where
    else:
        assert found == wanted, where


def same_log(stopped: Path, whole: Path) -> None:
    found, wanted = log(stopped), log(whole)
    assert [line["step"] for line in found] == [line["step"] for line in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert_alike(one, other, f"step {other['step']}")


def test_a_killed_pretraining_run_is_resumed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--recipe", "recipe.yaml", "--output", "stopped"]) == 0
    assert "resuming after step 8" in capsys.readouterr().err
    same_log(folder / "stopped", folder / "whole")
    found, wanted = (
        load_file(folder / run / "checkpoints/step-00000012/model.safetensors") for run in ("stopped", "whole")
    )
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        if "k_proj.bias" not in name:  # its true gradient is zero: Adam makes drift of rounding
            np.testing.assert_allclose(found[name], array, atol=1e-3, err_msg=name)


def test_a_pretraining_run_is_continued_from(folder: Path) -> None:
    words = "pretrain --recipe recipe.yaml --continue_from whole --output longer --set schedule.steps_per_task=5"
    assert main(shlex.split(words)) == 0
    origin = json.loads(next((folder / "longer" / "checkpoints").glob("step-*/origin.json")).read_text())
    assert origin["steps"] == {"words": 4, "order": 4, "relation": 4}


def test_a_killed_finetuning_run_is_resumed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(FINETUNE.split()) == 0
    assert "resuming after step 8" in capsys.readouterr().err
    same_log(folder / "tuned_stopped", folder / "tuned")
    found, wanted = (json.loads((folder / run / "results.json").read_text()) for run in ("tuned_stopped", "tuned"))
    assert_alike(found, wanted)


@pytest.mark.parametrize("model", ["exported", "tuned"])
def test_models_answer_as_they_did(folder: Path, model: str) -> None:
    assert main(["predict", "--model", model, "--input", "dev.tsv", "--output", "now.jsonl"]) == 0
    found, wanted = (
        [json.loads(line) for line in Path(name).read_text().splitlines()] for name in ("now.jsonl", "answers.jsonl")
    )
    assert len(found) == len(wanted) == 24
    for one, other in zip(found, wanted, strict=True):
        assert_alike(one, other)
    assert main(["evaluate", "--model", model, "--data", "dev.tsv", "--output", "now.json"]) == 0
    assert_alike(json.loads(Path("now.json").read_text()), json.loads(Path("scores.json").read_text()))


@pytest.mark.parametrize("corpus", ["corpus", "pairs"])
def test_corpora_open_and_are_prepared_to_the_same_bytes(
    folder: Path, corpus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", corpus]) == 0
    assert capsys.readouterr().out == Path(f"inspect_{corpus}.txt").read_text()
    if corpus == "corpus":
        words = "prepare text.txt --vocab vocab --segmenters capitals --heldout 0.1 --workers 0"
    else:
        words = "prepare-pairs pairs.tsv --text_a a --text_b b --label label --vocab vocab --heldout 0.2"
    assert main([*words.split(), "--output", "again"]) == 0
    shards = sorted(path.name for path in Path(corpus).glob("*-00000.safetensors"))
    assert len(shards) >= 2
    for name in [*shards, "vocab.txt", "tokenizer_config.json"]:
        assert (Path("again") / name).read_bytes() == (Path(corpus) / name).read_bytes(), name
    for statistics in Path(corpus).glob("statistics.safetensors"):  # its header has the fingerprint, which has paths
        found, wanted = load_file(Path("again") / statistics.name), load_file(statistics)
        assert found.keys() == wanted.keys()
        assert all(np.array_equal(found[name], array) for name, array in wanted.items())
    before, now = read_corpus_info(corpus), read_corpus_info("again")
    changing = {"fingerprint", "inputs", "summary"}  # of paths and times
    assert list(before) == list(now)
    assert {k: v for k, v in before.items() if k not in changing} == {k: v for k, v in now.items() if k not in changing}
