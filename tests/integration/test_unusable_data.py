"""`ernie pretrain` on data that an objective cannot use: one sentence and exit code 2, or counted; never a silent 0."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ernie_paddle.cli import main as cli
from ernie_paddle.objectives.registry import make_objective
from helpers.objective_learning import Documents, planted_corpus

ARCH = {
    "vocab_size": None, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "type_vocab_size": 4,
    "max_position_embeddings": 32, "use_task_id": False, "layer_norm_eps": 1e-5, "initializer_range": 0.02,
    "pad_token_id": 0,
}  # fmt: skip


def _documents(count: int, sentences: int, length: int = 4, words: int = 20) -> Documents:
    found: Documents = np.random.default_rng(0).integers(words, size=(count, sentences, length)).tolist()
    return found


ONE, TWO, FOUR = (_documents(32, sentences) for sentences in (1, 2, 4))
LONG, SAME = _documents(1, 60), [[[3, 3, 3, 3, 3]] * 3] * 32


def _pretrain(folder: Path, corpora: list[str], *objectives: str, **changes: Any) -> int:
    tasks = {"task": {"objectives": {name: {} for name in objectives}}}
    rate = {"kind": "constant", "peak": 1e-3, "warmup_steps": 0, "per": "run"}
    train = {"batch_rows": 4, "learning_rate": rate, "workers": 0, "log_every": 1, "eval_batches": 2}
    recipe = {
        "arch": ARCH,
        "data": {"corpora": [{"path": path} for path in corpora], "max_length": 32, "min_tokens": 1},
        "train": train | changes.pop("train", {}),
        "tasks": tasks,
        "schedule": {"kind": "multi_task", "steps_per_task": 3},
    } | changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return cli.main(["pretrain", "--recipe", str(folder / "recipe.yaml"), "--output", str(folder / "run")])


def _refused(capsys: pytest.CaptureFixture[str], folder: Path, code: int) -> str:
    """The one line of a refusal; nothing was trained."""
    error = capsys.readouterr().err.strip()
    assert code == 2, error
    assert error.count("\n") == 0
    assert not (folder / "run").exists()
    return error


@pytest.mark.parametrize(
    ("documents", "objective", "reason"),
    [
        (ONE, "nsp", "a sample of one sentence has no A and B"),
        (ONE, "sentence_ordering", "a sample of one sentence has no A and B"),
        (ONE, "adjacent_sentence", "a sample of one sentence has no A and B"),
        (ONE, "sentence_distance", "no cut leaves text of the document apart from A"),
        (TWO, "sentence_distance", "no cut leaves text of the document apart from A"),
        (ONE, "quick_thoughts", "a sample of one sentence has no text that follows"),
        (ONE, "fast_sent", "a sample of one sentence has no text that follows"),
        (SAME, "trigram_shuffling", ""),
    ],
)
def test_text_without_anything_to_label(
    documents: Documents, objective: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where another objective of the task has labels: its loss would hide that one learns nothing."""
    path = planted_corpus(tmp_path, documents, FOUR)
    error = _refused(capsys, tmp_path, _pretrain(tmp_path, [path], objective, "mlm"))
    assert f"{objective} finds nothing to label in the first 16 batches of {path}" in error
    if reason:
        counted = re.search(rf"\((\d+) × {objective}: {reason}", error)
        assert counted is not None
        assert int(counted[1]) == 16 * 4 // make_objective(objective).rows_per_sample


def test_held_out_text_without_anything_to_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found before hours of training, not at the first evaluation."""
    path = planted_corpus(tmp_path, FOUR, ONE)
    error = _refused(capsys, tmp_path, _pretrain(tmp_path, [path], "nsp"))
    assert "nsp cannot be evaluated: nothing to label in the held-out text" in error
    assert "--heldout" in error


def test_what_is_learnt_in_part_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sentences alone have one order, and a corpus of one document has no other: every such row is counted."""
    assert _pretrain(tmp_path, [planted_corpus(tmp_path, ONE, FOUR)], "sentence_reordering") == 0
    assert "12 × sentence_reordering: a sample of one sentence can only have class 0" in capsys.readouterr().err
    (tmp_path / "long").mkdir()
    code = _pretrain(tmp_path / "long", [planted_corpus(tmp_path / "long", LONG, FOUR)], "sentence_distance")
    assert code == 0
    assert re.search(r"\n\d+ × sentence_distance: no other document found", capsys.readouterr().err)


def test_two_vocabularies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    paths = [
        planted_corpus(tmp_path / "one", FOUR, FOUR),
        planted_corpus(tmp_path / "two", FOUR, FOUR, pieces=[f"v{i}" for i in range(20)]),
    ]
    error = _refused(capsys, tmp_path, _pretrain(tmp_path, paths, "mlm"))
    assert "was prepared with another vocabulary than" in error
    tasks = {
        name: {"objectives": {"mlm": {}}, "corpora": [{"path": path}]}
        for name, path in zip("ab", paths, strict=True)
    }  # fmt: skip
    error = _refused(capsys, tmp_path, _pretrain(tmp_path, [], tasks=tasks))
    assert "was prepared with another vocabulary than" in error


@pytest.mark.parametrize(
    ("objective", "changes", "words"),
    [
        ("tf_idf", {}, "has no statistics of its documents yet: make them with `ernie stats "),
        ("discourse_relation", {}, "holds documents, but discourse_relation reads labelled pairs"),
        ("quick_thoughts", {"train": {"batch_rows": 1}}, "leaves only 0; set it to 4 or more"),
        ("quick_thoughts", {"train": {"micro_batch_tokens": 64}}, "leaves only 1; set it to 128 or more"),
        ("mlm", {"schedule": {"kind": "table", "stages": [{"task": 3}], "total_steps": 4}}, "make the table add up"),
        ("mlm", {"schedule": {"kind": "table", "stages": [{"task+task": 3}]}}, "'task+task' names a task twice"),
        ("mlm", {"schedule": {"kind": "table", "stages": [{"tusk": 3}]}}, "unknown task 'tusk'; did you mean 'task'?"),
        ("nps", {}, "unknown objective 'nps'; did you mean 'nsp'?"),
    ],
)
def test_mistakes_of_a_recipe(
    objective: str, changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = planted_corpus(tmp_path, FOUR, FOUR)
    assert words in _refused(capsys, tmp_path, _pretrain(tmp_path, [path], objective, **changes))


def test_a_task_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "task 'task' has no data; name a prepared corpus" in _refused(
        capsys, tmp_path, _pretrain(tmp_path, [], "mlm")
    )
