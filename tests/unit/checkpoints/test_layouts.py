"""Whole folders: every layout to every other, what is missing or wrong, and what `ernie convert` says about it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie_paddle.checkpoints.heads import SEQUENCE, Head
from ernie_paddle.checkpoints.layouts import LAYOUTS, open_model_folder, write_model_folder
from ernie_paddle.checkpoints.weights import Weights
from ernie_paddle.cli.main import main
from ernie_paddle.finetune.training.start import start_from_model
from helpers.released import CONFIG, PIECES, random_arrays, weights, write_config, write_vocab
from propeller.errors import UserError
from reader.errors import DataError

CLASSIFIER = {"classifier.weight": np.ones((8, 3), np.float32), "classifier.bias": np.arange(3, dtype=np.float32)}


def equal(one: Weights, other: Weights) -> bool:
    assert one.tokenizer is not None
    assert other.tokenizer is not None
    return (
        set(one.arrays) == set(other.arrays)
        and all(one.arrays[name].tobytes() == other.arrays[name].tobytes() for name in one.arrays)
        and all(one.arrays[name].shape == other.arrays[name].shape for name in one.arrays)
        and one.config == other.config
        and one.tokenizer.vocab.pieces == other.tokenizer.vocab.pieces
        and one.tokenizer.config() == other.tokenizer.config()
        and one.digest() == other.digest()
    )


@pytest.mark.parametrize("route", list(itertools.permutations(LAYOUTS, 2)), ids="-".join)
def test_every_layout_to_every_other_and_back_is_exact(tmp_path: Path, route: tuple[str, str]) -> None:
    first = dataclasses.replace(weights(tmp_path, **CLASSIFIER), head=Head(SEQUENCE))
    found = first
    for number, layout in enumerate([*route, route[0]]):
        write_model_folder(tmp_path / str(number), found, layout)
        found = open_model_folder(tmp_path / str(number))
        assert found.layout == layout
        assert equal(found, first)
        assert found.head == first.head
    for one, other in zip(_files(tmp_path / "0"), _files(tmp_path / "2"), strict=True):
        assert one.read_bytes() == other.read_bytes(), one


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("layout", ["hf", "paddlenlp"])
@pytest.mark.parametrize("family", ["bert", "ernie_m"])
def test_families_keep_their_names(tmp_path: Path, layout: str, family: str) -> None:
    changes = {"use_task_id": False, "task_type_vocab_size": 16}
    if family == "ernie_m":
        changes |= {"type_vocab_size": 0, "position_offset": 2}
    first = weights(tmp_path, dataclasses.replace(CONFIG, **changes), family)
    write_model_folder(tmp_path / "a", first, layout)
    found = open_model_folder(tmp_path / "a", tmp_path / "vocab.txt")
    assert equal(found, first)
    assert found.config.family == family
    assert all(name.startswith((f"{family}.", "cls.")) for name in found.sources.values())


@pytest.mark.parametrize("layout", ["hf", "paddlenlp"])
def test_a_family_that_a_layout_lacks_is_refused(tmp_path: Path, layout: str) -> None:
    first = weights(tmp_path, CONFIG, "ernie_gen")
    with pytest.raises(UserError, match="has no family ernie_gen; name the family to write, such as --family ernie"):
        write_model_folder(tmp_path / "a", first, layout)
    assert not (tmp_path / "a").exists()
    write_model_folder(tmp_path / "a", first, layout, "ernie")


def test_a_cased_vocabulary_stays_cased(tmp_path: Path) -> None:
    first = weights(tmp_path)
    write_model_folder(tmp_path / "a", first, "hf")
    config = json.loads((tmp_path / "a/tokenizer_config.json").read_text())
    assert config["do_lower_case"] is True
    (tmp_path / "a/tokenizer_config.json").write_text(json.dumps({**config, "do_lower_case": False}))
    write_model_folder(tmp_path / "b", open_model_folder(tmp_path / "a"), "ours")
    found = open_model_folder(tmp_path / "b")
    assert found.tokenizer is not None
    assert found.tokenizer.config()["lowercase"] is False


def release(folder: Path, layout: str = "hf") -> Path:
    """A folder as someone else wrote it."""
    write_model_folder(folder, weights(folder.parent / "vocabulary"), layout)
    return folder


def convert(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], str]:
    code = main(["convert", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out.splitlines(), printed.err


def test_convert_reports_every_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = release(tmp_path / "hf")
    tensors = load_file(source / "model.safetensors")
    tensors["extra.dense.weight"] = np.zeros((2, 3), np.float32)
    tensors["ernie.embeddings.position_ids"] = np.arange(9)
    for name in [name for name in tensors if name.startswith("cls.")]:
        del tensors[name]
    save_file(tensors, source / "model.safetensors")
    code, lines, _ = convert(capsys, "--from", source, "--to", tmp_path / "new", "--format", "paddlenlp")
    assert code == 0
    about = {line.split()[0]: line for line in lines}
    assert "[12, 8]" in about["ernie.encoder.layers.1.linear2.weight"]
    assert "from ernie.encoder.layer.1.output.dense.weight: matched" in about["ernie.encoder.layers.1.linear2.weight"]
    assert about["extra.dense.weight"].endswith("unexpected, kept as it is")
    assert "ernie.embeddings.position_ids: dropped, holds int64, not floating-point numbers" in lines
    assert "note: no MLM head in the source" in lines
    assert "note: no NSP head in the source" in lines
    assert "note: 5 rows of the word embedding have no piece" in lines
    assert "40 matched, 0 missing, 1 unexpected, 0 of another shape, 1 dropped" in lines
    assert lines[-2].startswith("from Hugging Face (model.safetensors): 2 layers of 8, gelu, layer_norm_eps 1e-05")
    with (tmp_path / "new/model_state.pdparams").open("rb") as stream:
        assert pickle.load(stream)["extra.dense.weight"].shape == (3, 2)  # transposed, like every linear weight


def test_missing_tensors_and_other_shapes_are_listed_and_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = release(tmp_path / "static", "static")
    (source / "params/encoder_layer_1_ffn_fc_0.w_0").unlink()
    code, lines, error = convert(capsys, "--from", source, "--to", tmp_path / "new")
    assert code == 2
    assert "1 missing" in lines[-2]
    assert any(line.split() == ["ernie.encoder.layers.1.linear1.weight", "missing"] for line in lines)
    assert "1 tensors of the model are missing (ernie.encoder.layers.1.linear1.weight)" in error

    write_config(source / "ernie_config.json", max_position_embeddings=10)
    code, lines, error = convert(capsys, "--from", source, "--to", tmp_path / "new")
    assert code == 2
    assert any("from pos_embedding: shape: the configuration says [10, 8]" in line for line in lines)
    assert "pos_embedding has shape [9, 8], but the configuration says [10, 8]" in error
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="pos_embedding has shape"):
        start_from_model(source)


def test_a_vocabulary_longer_than_the_embedding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = release(tmp_path / "hf")
    vocab = write_vocab(tmp_path / "long", [*PIECES, *(f"x{i}" for i in range(6))])
    code, _, error = convert(capsys, "--from", source, "--to", tmp_path / "new", "--vocab", vocab)
    assert code == 2
    assert "the vocabulary has 31 pieces, but the word embedding of" in error
    assert "only 30 rows" in error


def test_what_a_layout_does_not_hold_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = weights(tmp_path, dataclasses.replace(CONFIG, layer_norm_eps=1e-12), **CLASSIFIER)
    named = dataclasses.replace(plain, head=Head(SEQUENCE, ("a", "b", "c")))
    write_model_folder(tmp_path / "hf", named, "hf")
    assert open_model_folder(tmp_path / "hf").head == named.head
    _, lines, _ = convert(capsys, "--from", tmp_path / "hf", "--to", tmp_path / "paddlenlp", "--format", "paddlenlp")
    assert not any("classes" in line for line in lines)
    assert open_model_folder(tmp_path / "paddlenlp").head == named.head
    _, lines, _ = convert(capsys, "--from", tmp_path / "hf", "--to", tmp_path / "static", "--format", "static")
    assert "note: the names of the 3 classes are not written" in lines
    assert any("compute with layer_norm_eps 1e-5" in line for line in lines)


def test_without_a_vocabulary_only_other_layouts_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = release(tmp_path / "hf")
    vocab = shutil.move(source / "vocab.txt", tmp_path / "vocab.txt")
    code, lines, error = convert(capsys, "--from", source, "--to", tmp_path / "ours")
    assert code == 2
    assert "give it with --vocab FILE" in error
    assert "note: no vocabulary next to the weights" in lines
    assert convert(capsys, "--from", source, "--to", tmp_path / "static", "--format", "static")[0] == 0
    assert convert(capsys, "--from", source, "--to", tmp_path / "ours", "--vocab", vocab)[0] == 0
    with pytest.raises(UserError, match="has no readable vocabulary"):
        start_from_model(source)


def test_epsilon_is_kept_asked_for_and_never_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = release(tmp_path / "static", "static")
    write_config(source / "ernie_config.json", layer_norm_eps=None)
    code, _, error = convert(capsys, "--from", source, "--to", tmp_path / "new")
    assert code == 2
    assert "layer_norm_eps is missing" in error
    with pytest.raises(UserError, match="--layer_norm_eps 1e-5 "):
        start_from_model(source)
    given = ("--from", source, "--to", tmp_path / "new", "--layer_norm_eps", "1e-5")
    assert convert(capsys, *given)[0] == 0
    assert open_model_folder(tmp_path / "new").config.layer_norm_eps == 1e-5
    write_config(source / "ernie_config.json", layer_norm_eps=None, epsilon=1e-12)
    shutil.rmtree(tmp_path / "new")
    code, _, error = convert(capsys, *given)
    assert code == 2
    assert "layer_norm_eps is 1e-12, --layer_norm_eps 1e-05" in error
    assert convert(capsys, *given[:4])[0] == 0
    assert open_model_folder(tmp_path / "new").config.layer_norm_eps == 1e-12


def test_a_static_release_as_it_was_published(tmp_path: Path) -> None:
    """The keys of its time, no task embedding, and `params` given instead of the folder around it."""
    config = dataclasses.replace(CONFIG, use_task_id=False)
    write_model_folder(tmp_path / "x", weights(tmp_path, config), "static")
    keys = {"sent_type_vocab_size": 4, "type_vocab_size": None, "task_type_vocab_size": 16, "use_task_id": None}
    more = {"position_offset": None, "pad_token_id": None, "layer_norm_eps": None}
    write_config(tmp_path / "x/ernie_config.json", config, **keys, **more)
    (tmp_path / "x/tokenizer_config.json").unlink()
    (tmp_path / "x/vocab.txt").write_text("".join(f"{piece}\t{i}\n" for i, piece in enumerate(PIECES)))
    found = open_model_folder(tmp_path / "x/params", layer_norm_eps=1e-5)
    assert found.config == dataclasses.replace(config, task_type_vocab_size=16)
    assert found.tokenizer is not None
    assert found.tokenizer.vocab.pieces == PIECES


def test_folders_of_paddlenlp_before_its_common_configuration(tmp_path: Path) -> None:
    source = release(tmp_path / "x", "paddlenlp")
    values = json.loads((source / "config.json").read_text())
    (source / "config.json").unlink()
    own = {key: value for key, value in values.items() if key not in ("model_type", "architectures", "use_task_id")}
    nested = {"init_args": [{**own, "init_class": "ErnieModel"}], "num_classes": 2, "init_class": "ErnieForX"}
    (source / "model_config.json").write_text(json.dumps(nested))
    (source / "model_state.pdparams").rename(source / "ernie_v2.pdparams")
    assert open_model_folder(source).config == CONFIG  # the task embedding is there, so it is used


def test_a_task_embedding_that_is_announced_but_absent(tmp_path: Path) -> None:
    source = release(tmp_path / "x", "hf")
    tensors = load_file(source / "model.safetensors")
    del tensors["ernie.embeddings.task_type_embeddings.weight"]
    save_file(tensors, source / "model.safetensors")
    found = open_model_folder(source)
    assert found.config.use_task_id is False
    assert any("use_task_id is true in config.json and false here" in note for note in found.notes)


def test_the_task_id_of_inputs_that_have_none(tmp_path: Path) -> None:
    """PaddleNLP calls it `task_id`."""
    first = weights(tmp_path, dataclasses.replace(CONFIG, default_task_id=2))
    for layout in LAYOUTS:
        write_model_folder(tmp_path / layout, first, layout)
        assert open_model_folder(tmp_path / layout).config.default_task_id == 2
    values = json.loads((tmp_path / "paddlenlp/config.json").read_text())
    assert values.pop("default_task_id") == values["task_id"] == 2
    (tmp_path / "paddlenlp/config.json").write_text(json.dumps(values))
    assert open_model_folder(tmp_path / "paddlenlp").config.default_task_id == 2


def test_safetensors_with_the_names_of_paddle(tmp_path: Path) -> None:
    """PaddleNLP writes safetensors too, and then nothing is to be transposed."""
    source = release(tmp_path / "x", "hf")
    wanted = random_arrays()
    save_file(wanted, source / "model.safetensors")
    found = open_model_folder(source)
    assert all(np.array_equal(found.arrays[name], array) for name, array in wanted.items())
    assert any("nothing was transposed" in note for note in found.notes)


def test_bfloat16_safetensors(tmp_path: Path) -> None:
    source = release(tmp_path / "x", "hf")
    raw = (source / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header, body, place = json.loads(raw[8 : 8 + size]), bytearray(), 0
    wanted = {}
    for name, facts in header.items():
        if name == "__metadata__":
            continue
        begin, end = facts["data_offsets"]
        values = np.frombuffer(raw[8 + size + begin : 8 + size + end], np.uint32)
        cut = (values >> 16).astype(np.uint16)
        wanted[name] = (cut.astype(np.uint32) << 16).view(np.float32).reshape(facts["shape"])
        body += cut.tobytes()
        facts |= {"dtype": "BF16", "data_offsets": [place, len(body)]}
        place = len(body)
    head = json.dumps(header).encode()
    (source / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + body)
    found = open_model_folder(source)
    name = "ernie.embeddings.word_embeddings.weight"
    assert np.array_equal(found.arrays[name], wanted[name])
    assert any("are bfloat16 in the source" in note for note in found.notes)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fine_tuning_starts_from_every_layout(tmp_path: Path, layout: str) -> None:
    first = weights(tmp_path)
    write_model_folder(tmp_path / "x", first, layout)
    start = start_from_model(tmp_path / "x")
    assert start.config == CONFIG
    assert start.arrays is not None
    assert all(np.array_equal(start.arrays[name], array) for name, array in first.arrays.items())
    assert start.tokenizer.vocab.pieces == PIECES


@pytest.mark.parametrize("layout", ["hf", "paddlenlp", "static"])
@pytest.mark.parametrize("verb", ["evaluate", "predict", "export", "inspect"])
def test_other_verbs_say_how_to_convert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, layout: str
) -> None:
    source = release(tmp_path / "x", layout)
    options = {"evaluate": ["--data", "x.tsv"], "export": ["--output", tmp_path / "out"]}.get(verb, [])
    model = [source] if verb == "inspect" else ["--model", source]
    assert main([verb, *map(str, [*model, *options])]) == 2
    assert f"`ernie convert --from {source} --to NEW_FOLDER`" in capsys.readouterr().err


def test_mistakes_about_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = release(tmp_path / "hf")

    def error(*arguments: object) -> str:
        code, _, said = convert(capsys, *arguments)
        assert code == 2
        assert said.count("\n") == 1
        return said

    assert "no such folder" in error("--from", tmp_path / "absent", "--to", tmp_path / "new")
    assert "give its folder" in error("--from", source / "model.safetensors", "--to", tmp_path / "new")
    (tmp_path / "empty").mkdir()
    assert "no weights in a layout that is known (ours: " in error("--from", tmp_path / "empty", "--to", tmp_path / "n")
    assert "is the folder of --from" in error("--from", source, "--to", source)
    assert "exists already" in error("--from", source, "--to", tmp_path / "vocabulary")
    bert = error("--from", source, "--to", tmp_path / "new", "--format", "hf", "--family", "bert")
    assert "BERT has no task embedding" in bert
    assert "--family is for" in error("--from", source, "--to", tmp_path / "new", "--family", "bert")
    m = error("--from", source, "--to", tmp_path / "new", "--format", "paddlenlp", "--family", "ernie_m")
    assert "cannot be written as one of the family ernie_m" in m
    config = json.loads((source / "config.json").read_text())
    for changes, said in [
        ({"model_type": "roberta"}, "only bert, ernie and ernie_m"),
        ({"hidden_act": "gelu_new"}, "hidden_act"),
        ({"pool_act": "relu"}, "only tanh"),
        ({"vocab_size": None}, "no vocab_size"),
    ]:
        left = {key: value for key, value in {**config, **changes}.items() if value is not None}
        (source / "config.json").write_text(json.dumps(left))
        assert said in error("--from", source, "--to", tmp_path / "new")
    (source / "config.json").write_text("{")
    (source / "model.safetensors").rename(source / "model_state.pdparams")
    assert "is not JSON" in error("--from", source, "--to", tmp_path / "new")
    (source / "config.json").write_text(json.dumps(config))
    assert "model_state.pdparams: " in error("--from", source, "--to", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".tmp", "new"))] == []


def test_a_damaged_safetensors_file(tmp_path: Path) -> None:
    source = release(tmp_path / "hf")
    raw = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(raw[:-1])
    with pytest.raises(UserError, match="damaged, or not a safetensors file"):
        open_model_folder(source)


def test_a_vocabulary_that_is_unusable(tmp_path: Path) -> None:
    source = release(tmp_path / "hf")
    (source / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="has no"):
        open_model_folder(source)
