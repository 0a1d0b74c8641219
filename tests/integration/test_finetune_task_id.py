"""Fine-tuning with the id of a pre-training task: found by name, kept with the model, used wherever it answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.checkpoints.model_dir import open_model_dir
from ernie_paddle.cli.main import main
from ernie_paddle.finetune.serving.encoder_program import encoder_task
from ernie_paddle.finetune.training.task_id import with_task_id
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.pretraining.recipe import Recipe
from helpers.finetune_toy import CONFIG, write_pretrained, write_table
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from propeller.run import checkpoint
from propeller.settings import from_mapping

WITH_IDS = dataclasses.replace(CONFIG, use_task_id=True, task_type_vocab_size=4)


def _pretrained(folder: Path, kind: str) -> Path:
    """A checkpoint that says which tasks it was trained on."""
    plain = {
        "name": "toy", "arch": {}, "data": {"corpora": [{"path": "c"}]}, "train": {"batch_rows": 2},
        "tasks": {
            "mlm": {"objectives": {"mlm": {}}, "task_id": 1},
            "nsp": {"objectives": {"nsp": {}}, "task_id": 3},
        },
        "schedule": {"kind": kind, "total_steps": 4},
    }  # fmt: skip
    recipe = from_mapping(Recipe, plain, "toy").to_dict()
    return checkpoint.save(folder / "checkpoints", 4, {}, {"recipe.json": recipe}, {}, keep_last=1)


def test_names_and_numbers(tmp_path: Path) -> None:
    def found(given: str, model: Path | None) -> int:
        return with_task_id(WITH_IDS, given, model).default_task_id

    model = _pretrained(tmp_path / "a", "cmtl")
    assert [found(given, model) for given in ("2", "mlm", "nsp")] == [2, 1, 3]
    assert found("2", None) == 2
    # In sums with the first task, the rows have the other one's id.
    assert found("mlm", _pretrained(tmp_path / "b", "cmtl_plus").parents[1]) == 3
    for given, where, words in (
        ("nps", model, "did you mean 'nsp'"),
        ("4", model, "only 4 task ids"),
        ("mlm", None, "give a number"),
        ("-1", model, "unknown task '-1'"),
    ):
        with pytest.raises(UserError, match=words):
            found(given, where)
    with pytest.raises(UserError, match="has no task embedding"):
        with_task_id(CONFIG, "1", None)


def test_the_id_is_kept_with_the_model_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_pretrained(tmp_path / "model", WITH_IDS)
    table = write_table(tmp_path / "table.tsv", 40, 0, "first")
    words = ["finetune", "--model", str(model), "--train", str(table), "--dev", str(table), "--text_a", "a"]
    words += ["--epochs", "1", "--output", str(tmp_path / "run")]
    assert main([*words, "--task_id", "2"]) == 0
    assert main([*words, "--task_id", "1"]) == 2  # another run
    assert "default_task_id was 2 and is 1" in capsys.readouterr().err
    tuned = open_model_dir(tmp_path / "run")
    assert tuned.config.default_task_id == 2
    assert main(["export", "--model", str(tmp_path / "run"), "--output", str(tmp_path / "export")]) == 0
    assert json.loads((tmp_path / "export" / "config.json").read_text())["default_task_id"] == 2
    capsys.readouterr()
    printed = []
    for place in ("run", "export"):
        assert main(["predict", "--model", str(tmp_path / place), "--input", str(table)]) == 0
        printed.append(capsys.readouterr().out)
    first, second = (
        [float(row.split("\t")[2]) for row in text.splitlines()[1:]] for text in printed
    )  # probabilities of the first label
    np.testing.assert_allclose(first, second, atol=1e-5)

    # The vectors are those of the id given with every token, and others than without one.
    arrays = tuned.parameters()
    ids = Input("task_ids", (None, None), "int64")
    plain = dataclasses.replace(tuned.config, default_task_id=0)

    def hidden(encoder: Encoder, values: dict[str, Any]) -> dict[str, Any]:
        outputs = encoder(values["input_ids"], values["segment_ids"], task_ids=values["task_ids"])
        return {"hidden": outputs.hidden_BTH}

    learner = Learner(OptimizerConfig(), seed=0)
    learner.add(encoder_task(tuned.config, with_pooled=True))
    given = encoder_task(plain, with_pooled=True)
    learner.add(ProgramSpec("given", [*given.inputs, ids], given.model, hidden))
    learner.add(ProgramSpec("without", given.inputs, given.model, given.forward))
    learner.load_parameters(arrays)
    batch = {name: np.ones((2, 5), np.int64) for name in ("input_ids", "segment_ids", "attention_mask")}
    own = learner.infer("encode", batch)["hidden"]
    np.testing.assert_array_equal(own, learner.infer("given", {**batch, "task_ids": np.full((2, 5), 2)})["hidden"])
    assert np.abs(own - learner.infer("without", batch)["hidden"]).max() > 1e-3
