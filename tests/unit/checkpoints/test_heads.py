"""What each task type becomes in other projects: classes, names and configurations written by hand, read without us."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie_paddle.checkpoints.heads import KINDS, TOKEN, Head, find_head
from ernie_paddle.checkpoints.layouts import open_model_folder, write_model_folder
from ernie_paddle.checkpoints.model_dir import PARAMETERS, model_documents, tokenizer_files
from ernie_paddle.cli.main import main
from ernie_paddle.finetune.task_type import TASK_TYPES, TaskType, task_from_dict
from helpers.released import CONFIG, weights, write_vocab
from propeller.errors import UserError
from propeller.run import checkpoint
from reader.tokenizers.load import load_tokenizer

TEXT = {"text_a": "a", "text_b": None, "label": "l", "max_length": 16, "metric": "accuracy", "header": True}
TAGS = {"scheme": "iob2", "types": ["PER"], "align": "first", "doc_stride": 7, "metric": "f1"}
ANSWERS = {
    "max_length": 64, "doc_stride": 8, "max_query_length": 8, "max_answer_length": 9, "n_best": 3, "scoring": "squad",
    "metric": "f1", "unanswerable": False,
}  # fmt: skip
PAIRS = {"metric": "mrr", "pooling": "mean", "temperature": 0.05, "ranks": 1, "micro_batch": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "classification": {**TEXT, "labels": ["bad", "good", "so-so"]},
    "regression": {**TEXT, "metric": "pearson"},
    "labelling": {**{k: v for k, v in TEXT.items() if k != "text_b"}, **TAGS},
    "question_answering": ANSWERS,
    "multiple_choice": {**TEXT, "labels": ["0", "1", "2", "3"], "choices": ["a", "b", "c", "d"]},
    "span_classification": {**TEXT, "labels": ["F", "T"], "spans": [["s", "e"]]},
    "retrieval": {**{k: v for k, v in TEXT.items() if k != "label"}, "text_b": "b", **PAIRS},
}
CLASSES = {"num_labels": 3, "problem_type": "single_label_classification"}
NAMED = {"id2label": {"0": "bad", "1": "good", "2": "so-so"}, "label2id": {"bad": 0, "good": 1, "so-so": 2}}
TAG_NAMES = {"id2label": {"0": "O", "1": "B-PER", "2": "I-PER"}, "label2id": {"O": 0, "B-PER": 1, "I-PER": 2}}
# type, class after the family, what its configuration says of the head; layer and outputs in hf, paddlenlp, static
TABLE = [
    ("classification", "ForSequenceClassification", CLASSES | NAMED, "classifier", "classifier", "cls_out", 3),
    ("regression", "ForSequenceClassification", {"num_labels": 1, "problem_type": "regression"},
     "classifier", "classifier", "cls_out", 1),
    ("labelling", "ForTokenClassification", {"num_labels": 3, **TAG_NAMES},
     "classifier", "classifier", "cls_seq_label_out", 3),
    ("question_answering", "ForQuestionAnswering", {"num_labels": 2}, "qa_outputs", "classifier", "cls_mrc_out", 2),
    ("multiple_choice", "ForMultipleChoice", {"num_choices": 4}, "classifier", "classifier", "cls_out", 1),
]  # fmt: skip
HEAD_KEYS = {"num_labels", "problem_type", "id2label", "label2id", "num_choices"}


def tuned(folder: Path, kind: str, use_task_id: bool = True, **changes: object) -> Path:
    """A checkpoint of a model as this task type makes it, with random weights."""
    import paddle

    task: TaskType = task_from_dict({"type": kind, **SETTINGS[kind], **changes}, "test")
    config = dataclasses.replace(CONFIG, use_task_id=use_task_id)
    paddle.disable_static()
    with paddle.utils.unique_name.guard():
        arrays = {p.name: p.numpy() for p in task.layer(config).parameters()}
    tokenizer = load_tokenizer(write_vocab(folder.parent))
    with tokenizer_files(tokenizer) as files:
        return checkpoint.save(folder, 3, {PARAMETERS: arrays}, model_documents(config, task.to_dict()), files)


def convert(source: Path, target: Path, *options: str) -> int:
    return main(["convert", "--from", str(source), "--to", str(target), *options])


@pytest.mark.parametrize("family", ["ernie", "bert"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_classes_names_and_configurations(tmp_path: Path, row: tuple[Any, ...], family: str) -> None:
    kind, name, keys, hf, paddlenlp, static, n_outputs = row
    source = tuned(tmp_path / "tuned", kind, use_task_id=family == "ernie")
    head = load_file(source / PARAMETERS)
    for layout in ("hf", "paddlenlp"):
        assert convert(source, tmp_path / layout, "--format", layout, "--family", family) == 0
        config = json.loads((tmp_path / layout / "config.json").read_text())
        assert config["architectures"] == [family.capitalize() + name]
        assert config["model_type"] == family
        assert {key: value for key, value in config.items() if key in HEAD_KEYS} == keys
    tensors = load_file(tmp_path / "hf/model.safetensors")
    assert {n for n in tensors if not n.startswith(f"{family}.")} == {f"{hf}.weight", f"{hf}.bias"}
    assert tensors[f"{hf}.weight"].shape == (n_outputs, 8)
    assert np.array_equal(tensors[f"{hf}.weight"].T, head["classifier.weight"])
    with (tmp_path / "paddlenlp/model_state.pdparams").open("rb") as stream:
        state = pickle.load(stream)
    assert {n for n in state if not n.startswith(f"{family}.")} >= {f"{paddlenlp}.weight", f"{paddlenlp}.bias"}
    assert np.array_equal(state[f"{paddlenlp}.weight"], head["classifier.weight"])
    assert convert(source, tmp_path / "static", "--format", "static") == 0
    files = {path.name for path in (tmp_path / "static/params").iterdir()}
    assert {n for n in files if n.startswith("cls")} == {f"{static}_w", f"{static}_b"}
    assert convert(tmp_path / "static", tmp_path / "again", "--format", "hf") == 0
    again = json.loads((tmp_path / "again/config.json").read_text())["architectures"]
    assert again == ["ErnieForSequenceClassification" if static == "cls_out" else f"Ernie{name}"]
    pooled = name in ("ForSequenceClassification", "ForMultipleChoice")  # the others have no pooler at Hugging Face
    assert (f"{family}.pooler.dense.weight" in tensors) == ("pooled_fc.w_0" in files) == pooled


def test_the_table_names_every_task_type() -> None:
    assert {row[0] for row in TABLE} | {"span_classification", "retrieval"} == set(TASK_TYPES)
    assert {row[1] for row in TABLE} == {f"For{kind}" for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("span_classification", {}, "fine-tuned for span_classification, and no class of another project has its head"),
        ("labelling", {"features": "last"}, "no class of another project has its BiLSTM"),
    ],
)
def test_heads_that_nobody_else_has_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, changes: dict[str, object], said: str
) -> None:
    source = tuned(tmp_path / "tuned", kind, **changes)
    assert convert(source, tmp_path / "ours") == 0
    for folder in (source, tmp_path / "ours"):  # a copy of ours still knows it
        for layout in ("hf", "paddlenlp", "static"):
            capsys.readouterr()
            assert convert(folder, tmp_path / "new", "--format", layout) == 2
            error = capsys.readouterr().err
            assert said in error
            assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_retrieval_is_an_encoder_whose_pooling_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(tuned(tmp_path / "tuned", "retrieval"), tmp_path / "hf", "--format", "hf") == 0
    config = json.loads((tmp_path / "hf/config.json").read_text())
    assert config["architectures"] == ["ErnieModel"]
    assert not HEAD_KEYS & set(config)
    assert "note: no head is written for retrieval: a text's vector is the last block's output, pooled by 'mean'" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_all_that_is_known_of_a_head_outlives_our_layout(tmp_path: Path, row: tuple[Any, ...]) -> None:
    source = tuned(tmp_path / "tuned", row[0], use_task_id=False)
    for layout in ("hf", "paddlenlp"):
        first, ours, again = (tmp_path / f"{layout}{number}" for number in range(3))
        assert convert(source, first, "--format", layout, "--family", "bert") == 0
        assert convert(first, ours) == 0
        assert convert(ours, again, "--format", layout) == 0
        files = sorted(path.name for path in first.iterdir())
        assert files == sorted(path.name for path in again.iterdir())
        assert all((first / name).read_bytes() == (again / name).read_bytes() for name in files)


def test_the_class_around_the_encoder_of_older_paddlenlp_tells_the_head(tmp_path: Path) -> None:
    source = tuned(tmp_path / "tuned", "labelling")
    assert convert(source, tmp_path / "x", "--format", "paddlenlp") == 0
    values = json.loads((tmp_path / "x/config.json").read_text())
    own = {k: v for k, v in values.items() if k not in {"model_type", "architectures", "label2id"} | HEAD_KEYS}
    nested = {"init_args": [{**own, "init_class": "ErnieModel"}], "init_class": "ErnieForTokenClassification"}
    (tmp_path / "x/config.json").unlink()
    (tmp_path / "x/model_config.json").write_text(json.dumps(nested))
    assert open_model_folder(tmp_path / "x").head == Head(TOKEN)


def test_a_head_that_nothing_tells_of() -> None:
    arrays = {"classifier.weight": np.zeros((8, 2), np.float32)}
    sources = {"classifier.weight": "classifier.weight"}
    assert "nothing says what its classifier is for" in str(find_head({}, arrays, sources).only_ours)
    pooled = find_head({}, {**arrays, "ernie.pooler.dense.weight": arrays["classifier.weight"]}, sources)
    assert pooled.head == Head("SequenceClassification")
    assert "classifier.weight is read as a classifier of texts" in pooled.notes[0]
    values = {"architectures": ["BertForTokenClassification"], "id2label": {"0": "O", "1": "B", "2": "I"}}
    named = find_head(values, arrays, sources)
    assert named.head == Head(TOKEN)
    assert named.notes == ("id2label names 3 classes, but the head has 2 outputs; the names are dropped",)


def test_a_head_without_its_bias_is_not_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(tuned(tmp_path / "tuned", "question_answering"), tmp_path / "hf", "--format", "hf") == 0
    tensors = load_file(tmp_path / "hf/model.safetensors")
    del tensors["qa_outputs.bias"]
    save_file(tensors, tmp_path / "hf/model.safetensors")
    assert convert(tmp_path / "hf", tmp_path / "new") == 2
    assert "1 tensors of the model are missing (classifier.bias)" in capsys.readouterr().err


def test_a_damaged_note_about_the_origin(tmp_path: Path) -> None:
    write_model_folder(tmp_path / "x", weights(tmp_path), "ours")
    (tmp_path / "x/step-00000000" / checkpoint.MANIFEST).unlink()  # or it would be seen by its hash
    (tmp_path / "x/step-00000000/origin.json").write_text('{"family": "bert"}')
    with pytest.raises(UserError, match=r"origin\.json: damaged or of another version"):
        open_model_folder(tmp_path / "x/step-00000000")


def test_the_task_id_that_hugging_face_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model_folder(tmp_path / "x", weights(tmp_path, dataclasses.replace(CONFIG, default_task_id=2)), "ours")
    assert convert(tmp_path / "x", tmp_path / "hf", "--format", "hf") == 0
    assert "note: Hugging Face's classes use task_type_ids 0; pass 2 instead" in capsys.readouterr().out
