"""`ernie embed`: vectors of texts against the encoder run on one text at a time, from every kind of model."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ernie_paddle.checkpoints.model_dir import open_model_dir
from ernie_paddle.cli.main import main
from ernie_paddle.models.inputs import TEXT_INPUTS
from helpers.finetune_toy import CONFIG, WORDS, write_pretrained, write_table
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner

LAYERS = 3
ROWS = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embed")
    write_pretrained(folder / "start", dataclasses.replace(CONFIG, num_hidden_layers=LAYERS, initializer_range=0.3))
    table = str(write_table(folder / "table.tsv", ROWS, 0, "pair"))
    assert main(["export", "--model", str(folder / "start"), "--output", str(folder / "exported")]) == 0
    words = ["finetune", "--model", str(folder / "start"), "--train", table, "--dev", table, "--text_a", "a"]
    assert main([*words, "--max_length", "16", "--epochs", "1", "--output", str(folder / "classifier")]) == 0
    assert main(["export", "--model", str(folder / "classifier"), "--output", str(folder / "classes")]) == 0
    return folder


@pytest.fixture(scope="module")
def hidden(folder: Path) -> list[NDArray[np.float64]]:
    """The vectors of each text alone, without padding: [LAYERS + 1, length, width]."""
    from ernie_paddle.models.encoder import Encoder

    model = open_model_dir(folder / "start")
    learner = Learner(OptimizerConfig(), seed=0)

    def outputs(encoder: Encoder, values: dict) -> dict:
        found = encoder(*(values[item.name] for item in TEXT_INPUTS[:2]), keep_all_hidden=True).all_hidden
        return {str(number): value for number, value in enumerate(found)}

    learner.add(ProgramSpec("all", TEXT_INPUTS[:2], lambda: Encoder(model.config, add_pooler=False), outputs))
    learner.load_parameters(model.parameters())
    texts = [line.split("\t")[0] for line in (folder / "table.tsv").read_text().splitlines()[1:]]
    vectors = []
    for text in texts:
        ids = np.array([[2, *(5 + WORDS.index(word) for word in text.split()), 3]])
        found = learner.infer("all", {"input_ids": ids, "segment_ids": np.zeros_like(ids)})
        vectors.append(np.stack([found[str(layer)][0] for layer in range(LAYERS + 1)]).astype(np.float64))
    return vectors


def embed(folder: Path, *arguments: str, model: str = "start", table: str | None = None) -> NDArray[np.float32]:
    output = folder / "vectors.npy"
    words = ["--model", str(folder / model), "--input", table or str(folder / "table.tsv"), "--output", str(output)]
    assert main(["embed", *words, "--text", "a", *arguments]) == 0
    found: NDArray[np.float32] = np.load(output)
    return found


@pytest.mark.parametrize(
    ("arguments", "layer", "pooling"),
    [
        ([], LAYERS, "mean"),
        (["--layer", "0"], 0, "mean"),
        (["--layer", "2", "--pooling", "cls", "--batch", "3"], 2, "cls"),
        (["--layer", "-2", "--batch", "1"], LAYERS - 1, "mean"),
        (["--layer", "-1", "--pooling", "cls"], LAYERS, "cls"),
    ],
)
def test_vectors_of_every_layer(
    folder: Path, hidden: list[NDArray[np.float64]], arguments: list[str], layer: int, pooling: str
) -> None:
    wanted = np.stack([text[layer].mean(axis=0) if pooling == "mean" else text[layer][0] for text in hidden])
    found = embed(folder, *arguments)
    assert (found.dtype, found.shape) == (np.float32, (ROWS, CONFIG.hidden_size))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(
        embed(folder, *arguments, "--normalize"), wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5
    )


def test_longer_texts_are_cut(folder: Path, hidden: list[NDArray[np.float64]]) -> None:
    """Only the embeddings do not depend on what was cut: the first position and its word."""
    found = embed(folder, "--layer", "0", "--max_length", "3", "--pooling", "cls")
    np.testing.assert_allclose(found, np.stack([text[0][0] for text in hidden]), atol=1e-5)
    assert not np.allclose(embed(folder, "--max_length", "3"), embed(folder), atol=1e-3)


def test_an_exported_model_gives_the_same(folder: Path) -> None:
    for pooling in ("mean", "cls"):
        np.testing.assert_allclose(
            embed(folder, "--pooling", pooling, model="exported"), embed(folder, "--pooling", pooling), atol=1e-5
        )


def test_a_fine_tuned_model_has_vectors_too(folder: Path) -> None:
    """Other ones than before, by the training; but not by much, after a single update at a small rate."""
    before, after = embed(folder), embed(folder, model="classifier")
    assert 0 < np.abs(after - before).max() < 0.1


def test_a_retrieval_model_gives_its_own_vectors_exported_or_not(folder: Path, capsys: pytest.CaptureFixture) -> None:
    table = str(folder / "table.tsv")
    arguments = ["finetune", "--type", "retrieval", "--model", str(folder / "start"), "--output", str(folder / "run")]
    arguments += ["--train", table, "--dev", table, "--text_a", "a", "--text_b", "b", "--max_length", "16"]
    assert main([*arguments, "--epochs", "1", "--pooling", "cls"]) == 0
    assert main(["export", "--model", str(folder / "run"), "--output", str(folder / "tuned")]) == 0
    found = embed(folder, model="run")
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(embed(folder, model="tuned"), found, atol=1e-5)
    assert "16 (cls of layer 3, length 1)" in capsys.readouterr().err
    # The same encoder otherwise pooled, which only the checkpoint can give.
    assert not np.allclose(embed(folder, "--pooling", "mean", model="run"), found, atol=1e-2)
    arguments = ["--input", table, "--text", "a", "--output", str(folder / "none.npy"), "--pooling", "mean"]
    assert main(["embed", "--model", str(folder / "tuned"), *arguments]) == 2
    assert "exported with pooling cls; give the checkpoint" in capsys.readouterr().err


def test_a_row_that_cannot_be_used_keeps_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (folder / "table.tsv").read_text().splitlines()
    lines.insert(3, " \tw1\tfirst")
    lines.insert(5, "w1")
    monkeypatch.setattr("ernie_paddle.cli.embed._CHUNK_ROWS", 4)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    found = embed(folder, table="-")
    said = capsys.readouterr().err
    assert "2 of 25 rows could not be used (their vectors are NaN):" in said
    assert "line 4: text_a ('a') is empty" in said
    bad = np.isnan(found).all(axis=1)
    assert np.flatnonzero(bad).tolist() == [2, 4]
    np.testing.assert_allclose(found[~bad], embed(folder), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "4"], "--layer 4: this model has 3 layers; give 0"),
        (["--layer", "-5"], "--layer -5: this model has 3 layers"),
        (["--text", "c"], "there is no column 'c'"),
        (["--max_length", "99"], "--max_length 99 must lie between 3 and the model's 32"),
        (["--output", "{folder}"], "this is a folder; name a file in it"),
        (["--output", "{folder}/none/v.npy"], "there is no folder"),
        (["--input", "{folder}/empty.tsv"], "empty.tsv: no rows"),
        (["--model", "{folder}/exported", "--layer", "1"], "an exported model only provides its last layer"),
        (["--model", "{folder}/classes"], "this exported model outputs logits, probabilities and no vectors"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty.tsv").write_text("a\tb\n")
    output = folder / "wrong.npy"
    words = ["embed", "--model", str(folder / "start"), "--input", str(folder / "table.tsv"), "--text", "a"]
    words += ["--output", str(output)]
    assert main([*words, *(text.format(folder=folder) for text in arguments)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ernie embed: ")
    assert message in last
    assert not output.exists()
    assert not list(folder.glob(".tmp-*"))
