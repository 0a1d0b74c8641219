"""`ernie pretrain` and `fleetrun pretrain.py`: two processes as one, dry runs of the shipped recipes, mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT, environment
from helpers.pretrain_runs import STEPS, arguments, ernie, log

NO_DROPOUT = {"arch__hidden_dropout_prob": 0.0, "arch__attention_probs_dropout_prob": 0.0}
# Sums of float32 gradients in another order: the first steps agree to the last bits, later ones drift.
TOLERANCE = 2e-5


def test_two_processes_train_as_one(manual_corpus: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    result = ernie(*arguments(manual_corpus, one, **NO_DROPOUT))
    assert result.returncode == 0, result.stderr
    words = arguments(manual_corpus, two, **NO_DROPOUT)[1:]
    launch = [
        sys.executable,
        "-m",
        "propeller.tools.fleetrun",
        "--nproc_per_node",
        "2",
        "--log_dir",
        str(tmp_path / "logs"),
    ]
    result = subprocess.run(
        [*launch, str(ROOT / "pretrain.py"), *words],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=280,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr + result.stdout
    alone, together = log(one), log(two)
    assert len(alone) == len(together) > STEPS
    for a, b in zip(alone, together, strict=True):
        assert a["step"] == b["step"]
        if a["kind"] == "step":
            assert a["task"] == b["task"]
            assert b["losses"] == pytest.approx(a["losses"], abs=TOLERANCE)
            assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
        else:
            assert b["metrics"] == pytest.approx(a["metrics"], abs=1e-4)


def test_what_is_no_corpus_is_named(manual_corpus: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Some text.\n")
    result = ernie(*arguments(text, tmp_path / "run"))
    assert result.returncode == 2
    assert "is a file, not a prepared corpus" in result.stderr
    result = ernie(*arguments(tmp_path, tmp_path / "run"))
    assert result.returncode == 2
    assert "ernie prepare" in result.stderr
    result = ernie(*arguments(manual_corpus, manual_corpus))
    assert result.returncode == 2
    assert "holds a prepared corpus" in result.stderr


def test_the_default_recipe_says_which_data_it_expects() -> None:
    result = ernie("pretrain")
    assert result.returncode == 2
    assert "data/english" in result.stderr
    assert "ernie prepare" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train__batch_tokns": 5}, "did you mean 'batch_tokens'"),
        ({"arch__hiden_size": 5}, "did you mean 'hidden_size'"),
        ({"arch__vocab_size": 10}, "arch.vocab_size is 10"),
        ({"arch__num_attention_heads": 3}, "num_attention_heads"),
        ({"data__max_length": 512}, "lower max_length or raise max_position_embeddings"),
        ({"tasks__capitalization__objectives": "{captalization: {}}"}, "did you mean 'capitalization'"),
        ({"tasks__capitalization__objectives": "{nsp: {}, sentence_reordering: {}}"}, "separate tasks"),
        ({"schedule__steps_per_task": 0}, "at least 1"),
        ({"tasks__capitalization__task_id": 99}, "tasks.capitalization.task_id is 99"),
        (
            {"train__learning_rate__per": "task", "train__learning_rate__warmup_steps": 10},
            "9 steps of task 'knowledge_masking'",
        ),
        (
            {"train__learning_rate__warmup_steps": 30},
            "train.learning_rate.warmup_steps (30) is larger than the 18 steps",
        ),
        ({"train__precision__dtype": "float16"}, "float16 needs a GPU"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    changes: dict[str, object], words: str, manual_corpus: Path, tmp_path: Path
) -> None:
    result = ernie(*arguments(manual_corpus, tmp_path / "run", **changes))
    assert result.returncode == 2, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "log.jsonl").exists()
