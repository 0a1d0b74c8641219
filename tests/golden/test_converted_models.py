"""Golden models, sent through every layout, still give Hugging Face's outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ernie_paddle.checkpoints.layouts import open_model_folder, write_model_folder
from ernie_paddle.cli.main import main
from ernie_paddle.models.encoder import Encoder
from ernie_paddle.models.heads import MaskedLMHead, PooledClassifier, TokenClassifier, gather_positions
from helpers.model_harness import Golden, largest_difference, run_static

MLM_LOGITS, OTHER = 3e-5, 1e-5
NAMES = {
    "input_ids": "input_ids",
    "token_type_ids": "segment_ids",
    "task_type_ids": "task_ids",
    "attention_mask": "attention_mask",
}


def chain(source: Path, folder: Path, layouts: list[str]) -> Any:
    """What is left of a released folder after it was written in these layouts, one from the other."""
    size = json.loads((source / "config.json").read_text())["vocab_size"]
    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(size - 9))]))
    found = open_model_folder(source, vocab)
    for number, layout in enumerate(layouts):
        write_model_folder(folder / str(number), found, layout)
        found = open_model_folder(folder / str(number))
    return found


@pytest.mark.parametrize("layouts", [["ours"], ["paddlenlp", "static", "hf", "ours"]], ids="-".join)
@pytest.mark.parametrize(
    "folder",
    [
        "ernie/ernie_task_gelu_eps1e-12",
        "ernie/ernie_notask_relu_eps1e-12",
        "ernie/ernie_epsprobe_eps1e-12",
        "ernie/ernie_epsprobe_eps1e-5",
        "bert/bert_pretraining",
    ],
)
def test_pretrained_models(test_data: Path, tmp_path: Path, folder: str, layouts: list[str]) -> None:
    golden = Golden(test_data / "golden/models" / folder)
    found = chain(test_data / "golden/models" / folder, tmp_path, layouts)
    inputs = {ours: golden.inputs("a")[hf] for hf, ours in NAMES.items() if hf in golden.inputs("a")}
    fed = {**inputs, "positions": np.flatnonzero(inputs["attention_mask"])}

    def build(values: dict[str, Any]) -> dict[str, Any]:
        encoder = Encoder(found.config)
        out = encoder(**{name: values[name] for name in inputs})
        mlm = MaskedLMHead(found.config, encoder.embeddings.word.weight)
        nsp = PooledClassifier(found.config, 2, "cls.seq_relationship")
        gathered = gather_positions(out.hidden_BTH, values["positions"])
        return {"pooled": out.pooled_BH, "mlm": mlm(gathered), "nsp": nsp(out)}

    results, expected = run_static(build, fed, found.arrays), golden.outputs("a")
    assert largest_difference(results["pooled"], expected["pooler_output"]) < OTHER
    assert largest_difference(results["nsp"], expected["seq_relationship_logits"]) < OTHER
    if "prediction_logits" in expected:
        wanted = expected["prediction_logits"].reshape(-1, found.config.vocab_size)[fed["positions"]]
        assert largest_difference(results["mlm"], wanted) < MLM_LOGITS


@pytest.mark.parametrize("folder", ["bert_seqcls", "bert_qa"])
def test_fine_tuned_heads(test_data: Path, tmp_path: Path, folder: str) -> None:
    golden = Golden(test_data / "golden/models/bert" / folder)
    found = chain(test_data / "golden/models/bert" / folder, tmp_path, ["static", "hf", "paddlenlp"])
    inputs = {ours: golden.inputs("a")[hf] for hf, ours in NAMES.items() if hf in golden.inputs("a")}
    expected = golden.outputs("a")

    def build(values: dict[str, Any]) -> dict[str, Any]:
        if folder == "bert_qa":
            out = Encoder(found.config, add_pooler=False)(**values)
            return {"logits": TokenClassifier(found.config, 2)(out)}
        return {"logits": PooledClassifier(found.config, 3)(Encoder(found.config)(**values))}

    logits = run_static(build, inputs, found.arrays)["logits"]
    if folder == "bert_qa":
        real = inputs["attention_mask"]
        assert largest_difference(logits[..., 0], expected["start_logits"], real) < OTHER
        assert largest_difference(logits[..., 1], expected["end_logits"], real) < OTHER
    else:
        assert largest_difference(logits, expected["logits"]) < OTHER


def test_the_file_is_the_one_that_hugging_face_writes(test_data: Path, tmp_path: Path) -> None:
    """`model_tied_dropped.safetensors` is what `save_pretrained` of transformers wrote for the same model."""
    source = test_data / "golden/models/ernie/ernie_task_gelu_eps1e-12"
    chain(source, tmp_path, ["ours", "static", "paddlenlp", "hf"])
    found, wanted = (
        load_file(path) for path in (tmp_path / "3/model.safetensors", source / "model_tied_dropped.safetensors")
    )
    assert set(found) == set(wanted)
    assert all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)
    ours, theirs = (json.loads((path / "config.json").read_text()) for path in (tmp_path / "3", source))
    assert ours == theirs


@pytest.mark.parametrize("layouts", [["ours"], ["paddlenlp", "ours"]], ids="-".join)
@pytest.mark.parametrize(
    "folder",
    [
        "bert/bert_pretraining",
        "bert/bert_seqcls",
        "bert/bert_regression",
        "bert/bert_multilabel",
        "bert/bert_tokcls",
        "bert/bert_qa",
        "bert/bert_multiplechoice",
        "ernie_m/ernie_m_seqcls",
        "ernie_m/ernie_m_qa",
    ],
)
def test_hugging_faces_heads_come_back_to_the_byte(
    test_data: Path, tmp_path: Path, folder: str, layouts: list[str]
) -> None:
    """Through `ernie convert`, without a word about the family or the head; the files are read without our reader."""
    source = test_data / "golden/models" / folder
    wanted = json.loads((source / "config.json").read_text())
    wanted.pop("act_dropout", None)  # of ERNIE-M; 0, which is its default there, or the model is refused
    pieces = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(wanted["vocab_size"] - 5))]
    pieces.insert(wanted["pad_token_id"], "[PAD]")
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    given, last = source, tmp_path / "hf"
    for layout in [*layouts, "hf"]:
        to = tmp_path / layout
        vocab = ["--vocab", str(tmp_path / "vocab.txt")]
        assert main(["convert", "--from", str(given), "--to", str(to), "--format", layout, *vocab]) == 0
        given = to
    assert json.loads((last / "config.json").read_text()) == wanted
    found, tensors = (load_file(path / "model.safetensors") for path in (last, source))
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    assert set(found) == set(tensors) - tied
    assert all(found[name].tobytes() == tensors[name].tobytes() for name in found)
    assert all(found[name].shape == tensors[name].shape for name in found)


def test_a_file_without_the_tied_copies_gives_the_same_model(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "golden/models/ernie/ernie_task_gelu_eps1e-12"
    (tmp_path / "x").mkdir()
    shutil.copyfile(source / "config.json", tmp_path / "x/config.json")
    shutil.copyfile(source / "model_tied_dropped.safetensors", tmp_path / "x/model.safetensors")
    assert open_model_folder(tmp_path / "x").digest() == open_model_folder(source).digest()
