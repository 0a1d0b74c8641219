"""Sequence labelling: pieces and their tags against a loop, goldens of entities, windows that lose no token."""

from __future__ import annotations

import argparse
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_paddle.finetune.data.tagged_data import TaggedDataset
from ernie_paddle.finetune.metrics.table_metrics import entity_metrics
from ernie_paddle.finetune.task_type import task_from_dict
from ernie_paddle.finetune.tasks.labelling import Labelling
from propeller.errors import UserError
from reader.errors import DataError
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

PIECES = ["an", "##na", "bo", "##nn", "##x", "is", "in", "."]
WORDS = ["an", "anna", "bonnx", "is", "in", ".", "zzz", "\u200b"]
NUMBER_OF_PIECES = {"an": 1, "anna": 2, "bonnx": 3, "zzz": 1, "\u200b": 1}
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES]) + "\n")
    return load_tokenizer(path)


def labelling(**changes: object) -> Labelling:
    settings = {
        "text_a": None, "label": None, "header": True, "scheme": "iob2", "types": ("LOC", "PER"), "align": "first",
        "max_length": 128, "doc_stride": 63, "metric": "f1",
    }  # fmt: skip
    return Labelling(**{**settings, **changes})  # type: ignore[arg-type]


def options(train: Path, **changes: object) -> argparse.Namespace:
    settings = {
        "train": str(train), "format": "auto", "header": True, "text_a": None, "text_b": None, "label": None,
        "labels": None, "scheme": "auto", "align": "first", "max_length": 32, "doc_stride": None, "metric": None,
        "features": None, "skip_unusable": False,
    }  # fmt: skip
    return argparse.Namespace(**{**settings, **changes})


def write_conll(path: Path, sentences: list[list[tuple[str, str]]]) -> Path:
    path.write_text("\n".join("".join(f"{token}\t{tag}\n" for token, tag in sentence) for sentence in sentences))
    return path


def one_hot(data: TaggedDataset, values: Any, classes: int) -> np.ndarray[Any, Any]:
    """Scores of all positions that give each token the class of `values` and are nonsense elsewhere."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(len(data.encoded.ids), classes)).astype(np.float32)
    scores[data.places] = -5
    scores[data.places, values] = 5
    return scores


SENTENCES = st.lists(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(TAGS)), min_size=1, max_size=25), min_size=1, max_size=4
)


@pytest.mark.parametrize("align", ["first", "all"])
@settings(deadline=None)
@given(sentences=SENTENCES, max_length=st.integers(8, 20), stride=st.integers(1, 6))
def test_every_token_is_learnt_once_with_its_tag(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: Tokenizer,
    align: str,
    sentences: list[list[tuple[str, str]]],
    max_length: int,
    stride: int,
) -> None:
    """Put together from all windows, the labelled positions are the pieces in order, each with its tag."""
    path = write_conll(tmp_path_factory.mktemp("data") / "t.conll", sentences)
    task = labelling(align=align, max_length=max_length, doc_stride=stride)
    data = task.read(path, tokenizer, labelled=True, strict=True)
    vocab, labels = tokenizer.vocab, task.labels
    assert data.labels is not None
    assert data.lengths.max() <= max_length
    assert data.examples == len(sentences)
    place = 0
    for number, sentence in enumerate(sentences):
        pieces, wanted = [], {}
        before = "O"
        for token, tag in sentence:
            # What a sequence of tags means is tested elsewhere: here, I after another type is B.
            tag = "B" + tag[1:] if tag[0] == "I" and before[1:] != tag[1:] else tag
            before = tag
            ids = tokenizer.encode(token) or [vocab.unk]
            assert len(ids) == NUMBER_OF_PIECES.get(token, 1)
            wanted[len(pieces)] = tag
            if align == "all":
                wanted |= {len(pieces) + more: "I" + tag[1:] if tag != "O" else "O" for more in range(1, len(ids))}
            # The position to answer at shows the token's first piece.
            assert data.encoded.ids[data.places[place]] == ids[0]
            assert data.labels[data.places[place]] == labels.index(tag)
            place += 1
            pieces += ids
        found = {}
        for row in np.flatnonzero(data.row_sentences == number):
            begin, end = data.encoded.offsets[row : row + 2]
            shown = data.encoded.ids[begin + 1 : end - 1].tolist()
            assert (data.encoded.ids[begin], data.encoded.ids[end - 1]) == (vocab.cls, vocab.sep)
            assert data.labels[begin] == data.labels[end - 1] == -100
            start = int(np.sum(data.row_sentences[:row] == number)) * min(stride, max_length - 2)
            assert shown == pieces[start : start + max_length - 2]
            for offset in np.flatnonzero(data.labels[begin + 1 : end - 1] != -100).tolist():
                assert start + offset not in found
                found[start + offset] = labels[data.labels[begin + 1 + offset]]
        assert found == wanted
    assert place == len(data.places)


def test_right_answers_have_full_marks_in_every_scheme(tmp_path: Path, tokenizer: Tokenizer) -> None:
    sentences = [
        [("anna", "B-PER"), ("bonnx", "B-PER"), ("an", "I-PER"), ("is", "O"), ("in", "O"), ("bonnx", "B-LOC")] * 3,
        [("bonnx", "B-LOC")],
    ]
    path = write_conll(tmp_path / "t.conll", sentences)
    for scheme in ("iob1", "iob2", "iobes"):
        task = labelling(scheme=scheme, max_length=8, doc_stride=3)
        data = task.read(path, tokenizer, labelled=True, strict=True)
        assert len(data) > 5
        assert data.labels is not None
        wanted = data.labels[data.places]
        scores = task.score({"logits": one_hot(data, wanted, len(task.labels))}, data)
        assert {name: scores[name] for name in ("f1", "precision", "recall", "accuracy", "f1_PER", "f1_LOC")} == {
            "f1": 1, "precision": 1, "recall": 1, "accuracy": 1, "f1_PER": 1, "f1_LOC": 1
        }  # fmt: skip
        assert scores["loss"] == pytest.approx(np.log(1 + (len(task.labels) - 1) * np.exp(-10)), rel=1e-4)
        answers = task.answers({"probabilities": one_hot(data, wanted, len(task.labels))}, data)
        assert list(answers) == [1, 20]
        assert answers[1]["tokens"] == [token for token, _ in sentences[0]]
        if scheme == "iob2":
            assert answers[1]["prediction"] == [tag for _, tag in sentences[0]]
            assert answers[20]["prediction"] == ["B-LOC"]
    # IO cannot tell the two persons from one: one wrong entity for two right ones, three times.
    task = labelling(scheme="io")
    data = task.read(path, tokenizer, labelled=True, strict=True)
    assert data.labels is not None
    scores = task.score({"logits": one_hot(data, data.labels[data.places], 3)}, data)
    assert scores["recall"] == pytest.approx(4 / 10)
    assert scores["precision"] == pytest.approx(4 / 7)


def test_predictions_are_sound_tags_with_their_own_probability(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """I after O begins an entity: the answer says B, and how probable the model took B to be."""
    task = labelling()
    path = write_conll(tmp_path / "t.conll", [[("an", "O"), ("anna", "B-PER")]])
    data = task.read(path, tokenizer, labelled=False, strict=True)
    probabilities = np.full((len(data.encoded.ids), 5), 0.2, np.float32)
    probabilities[data.places] = [[0.7, 0.1, 0.1, 0.05, 0.05], [0.1, 0.0, 0.0, 0.3, 0.6]]
    (answer,) = task.answers({"probabilities": probabilities}, data).values()
    assert answer["prediction"] == ["O", "B-PER"]
    assert answer["probability"] == pytest.approx([0.7, 0.3])


def by_pieces(sentences: list[list[tuple[str, str]]], align: str) -> list[str]:
    """IOBES tags that are learnt at first pieces, counted out piece by piece."""
    found = []
    for sentence in sentences:
        kinds: list[str] = []
        for token, tag in sentence:
            more = NUMBER_OF_PIECES.get(token, 1) - 1 if align == "all" else 0
            kinds += [tag, *(["O" if tag == "O" else "I" + tag[1:]] * more)]
        place = 0
        for token, _ in sentence:
            tag, after = kinds[place], [*kinds, "O"][place + 1]
            ends = after[0] != "I"
            found.append(tag if tag == "O" else {"B": "BS", "I": "IE"}[tag[0]][ends] + tag[1:])
            place += NUMBER_OF_PIECES.get(token, 1) if align == "all" else 1
    return found


@pytest.mark.parametrize("align", ["first", "all"])
def test_a_model_that_says_what_it_learnt_is_sure_and_has_no_loss(
    tmp_path: Path, tokenizer: Tokenizer, align: str
) -> None:
    """Where all pieces are tagged in IOBES, the first piece of a token does not have the token's tag."""
    sentences = [
        [("bonnx", "B-PER"), ("is", "O"), ("anna", "B-LOC"), ("an", "I-LOC"), ("bonnx", "I-LOC"), ("bonnx", "B-LOC")],
        [("an", "B-PER"), ("in", "B-PER"), ("anna", "I-PER")],
    ]
    shown = ["S-PER", "O", "B-LOC", "I-LOC", "E-LOC", "S-LOC", "S-PER", "B-PER", "E-PER"]
    task = labelling(scheme="iobes", align=align)
    path = write_conll(tmp_path / "t.conll", sentences)
    data = task.read(path, tokenizer, labelled=True, strict=True)
    learnt = by_pieces(sentences, align)
    assert learnt == shown or align == "all"
    assert data.labels is not None
    assert [task.labels[number] for number in data.labels[data.places]] == learnt
    values = [task.labels.index(tag) for tag in learnt]
    scores = task.score({"logits": one_hot(data, values, len(task.labels)) * 10}, data)
    assert (scores["f1"], scores["accuracy"]) == (1, 1)
    assert scores["loss"] == pytest.approx(0, abs=1e-9)
    unlabelled = task.read(path, tokenizer, labelled=False, strict=True)
    answers = task.answers({"probabilities": (one_hot(data, values, len(task.labels)) + 5) / 10}, unlabelled)
    assert [tag for answer in answers.values() for tag in answer["prediction"]] == shown
    assert [value for answer in answers.values() for value in answer["probability"]] == [1.0] * len(shown)


def test_baseline_is_the_most_frequent_tag(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write_conll(tmp_path / "t.conll", [[("an", "O"), ("is", "O"), ("anna", "B-PER")]])
    data = labelling().read(path, tokenizer, labelled=True, strict=True)
    found = labelling().baseline(data)
    assert (found["f1"], found["accuracy"]) == (0, pytest.approx(2 / 3))


def test_plain_labels(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write_conll(tmp_path / "t.conll", [[("anna", "NN"), ("is", "VB"), ("in", "IN"), ("bonnx", "NN")]])
    task = Labelling.from_options(options(path))
    assert (task.scheme, task.labels, task.metric) == ("none", ["IN", "NN", "VB"], "accuracy")
    data = task.read(path, tokenizer, labelled=True, strict=True)
    scores = task.score({"logits": one_hot(data, [1, 2, 1, 1], 3)}, data)
    assert scores["accuracy"] == 0.75
    assert task.answers({"probabilities": one_hot(data, [1, 2, 0, 1], 3)}, data)[1]["prediction"] == [
        "NN", "VB", "IN", "NN"
    ]  # fmt: skip
    assert task.baseline(data) == {"accuracy": 0.5}


def test_types_and_scheme_come_from_the_data(tmp_path: Path) -> None:
    path = write_conll(tmp_path / "t.conll", [[("anna", "I-PER"), ("bo", "B-PER"), ("bonnx", "I-LOC"), ("is", "O")]])
    task = Labelling.from_options(options(path))
    assert task.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert (task.doc_stride, task.metric) == (15, "f1")
    assert Labelling.from_options(options(path, scheme="io")).labels == ["O", "I-LOC", "I-PER"]
    given_tags = options(path, labels=["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    assert Labelling.from_options(given_tags).labels == given_tags.labels
    assert task_from_dict(json.loads(json.dumps(task.to_dict())), "task.json") == task


def test_unusable_data_and_settings(tmp_path: Path, tokenizer: Tokenizer) -> None:
    good = write_conll(tmp_path / "t.conll", [[("anna", "B-PER"), ("is", "O")]])
    bad = write_conll(tmp_path / "b.conll", [[("is", "O")], [("is", "O"), ("anna", "B-ORG")], [("an", "NN")]])
    with pytest.raises(
        DataError, match=r"b.conll:3: token 2 \('anna'\): unknown entity type .* 'B-ORG'.*LOC, PER .and 1 mor"
    ):
        labelling().read(bad, tokenizer, labelled=True, strict=True)
    data = labelling().read(bad, tokenizer, labelled=True, strict=False)
    assert (data.examples, [line for line, _ in data.problems]) == (1, [3, 6])
    outside = write_conll(tmp_path / "o.conll", [[("is", "O")]])
    plain = write_conll(tmp_path / "p.conll", [[("an", "NN"), ("is", "O")]])
    empty = tmp_path / "e.conll"
    empty.write_text("\n\n")
    damaged = tmp_path / "d.conll"
    damaged.write_text("a O\nb\n")
    for path, changes, error, message in [
        (outside, {}, UserError, "no entity tags"),
        (empty, {}, DataError, "no rows"),
        (damaged, {}, DataError, "d.conll:2: 1 columns where the first line has 2"),
        (good, {"scheme": "none", "labels": ["O"]}, UserError, "at least two labels"),
        (good, {"doc_stride": 31}, UserError, "doc_stride 31 must be between 1 and 30"),
        (good, {"metric": "mcc"}, UserError, "metric 'mcc' is not a metric of labelling: f1, precision"),
        (good, {"max_length": 7}, UserError, "max_length must be at least 8"),
        (plain, {"scheme": "iob2"}, UserError, "p.conll: 'NN' is not a tag .*--scheme none"),
        (good, {"scheme": "iob2", "labels": ["NN", "O"]}, UserError, "--labels: 'NN' is not a tag"),
    ]:
        with pytest.raises(error, match=message):
            Labelling.from_options(options(path, **changes))


@pytest.mark.parametrize("tag", ["ORG", "-ORG", ""])
def test_one_damaged_tag_in_the_training_data(tmp_path: Path, tokenizer: Tokenizer, tag: str) -> None:
    """It is refused with its place, and does not turn the recognition of entities into plain labels."""
    sentences = [[("anna", "B-PER"), ("is", "O")], [("in", "O"), ("bonnx", tag)], [("bonnx", "I-LOC"), ("is", "O")]]
    path = write_conll(tmp_path / "t.conll", sentences)
    with pytest.raises(DataError, match=r"t\.conll:4: token 2 \('bonnx'\): (its tag is empty|'-?ORG' is not a tag)"):
        Labelling.from_options(options(path)).read(path, tokenizer, labelled=True, strict=True)
    task = Labelling.from_options(options(path, skip_unusable=True))
    assert task.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    data = task.read(path, tokenizer, labelled=True, strict=False)
    assert (data.sentence_lines, [line for line, _ in data.problems]) == ([1, 7], [4])


def test_a_chunk_without_a_usable_sentence(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "t.conll"
    path.write_text("an\nan an\n\nan an\n\nis\n")
    chunks = list(labelling().stream(path, tokenizer, chunk_rows=1))
    assert [(len(chunk), len(chunk.problems)) for chunk in chunks] == [(0, 1), (0, 1), (1, 0)]


def test_conlleval_report(test_data: Path) -> None:
    """The report that conlleval itself printed for the chunking example of CoNLL-2000."""
    folder = test_data / "golden" / "conlleval"
    report = (folder / "result.txt").read_text()
    blocks = (folder / "output.txt").read_text().replace("\r", "").strip("\n").split("\n\n")
    rows = [[line.split() for line in block.splitlines()] for block in blocks]
    truth, found = ([[fields[column] for fields in block] for block in rows] for column in (-2, -1))
    scores = entity_metrics(truth, found)
    for name, key in (("accuracy", "accuracy"), ("precision", "precision"), ("recall", "recall"), ("FB1", "f1")):
        wanted = re.search(rf"{name}: +([\d.]+)", report.splitlines()[1])
        assert wanted is not None
        assert round(100 * scores[key], 2) == float(wanted[1])
    by_type = re.findall(r"^ +(\w+): .*FB1: +([\d.]+)", report, re.MULTILINE)
    assert len(by_type) == 6
    assert {name: round(100 * scores[f"f1_{name}"], 2) for name, _ in by_type} == {k: float(v) for k, v in by_type}


@pytest.mark.parametrize("scheme", ["iob2", "iobes"])
def test_scores_of_noisy_tags(test_data: Path, tmp_path: Path, scheme: str) -> None:
    """seqeval's numbers for tags with noise, through reading, windows and a model that answers just these tags."""
    golden = test_data / "golden" / "ner_iob2"
    wanted = json.loads((golden / "scores_seqeval_default.json").read_text())
    lines = gzip.decompress((golden / "predictions.tsv.gz").read_bytes()).decode("utf-8").splitlines()
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) + "\n")
    gold, noisy = tmp_path / "gold.conll", tmp_path / "noisy.conll"
    for path, column in ((gold, 1), (noisy, 2)):
        rows = ("\t".join(line.split("\t")[i] for i in (0, column)) if line.strip() else "" for line in lines)
        path.write_text("\n".join(rows) + "\n")
    task = Labelling.from_options(options(gold, scheme=scheme))
    tokens = load_tokenizer(vocab)
    data, noise = (task.read(path, tokens, labelled=True, strict=True) for path in (gold, noisy))
    assert noise.labels is not None
    found = task.score({"logits": one_hot(data, noise.labels[noise.places], len(task.labels))}, data)
    for name in ("precision", "recall", "f1"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-12)
    for name in ("LOC", "MISC", "ORG", "PER"):
        assert found[f"f1_{name}"] == pytest.approx(wanted["per_type"][name]["f1-score"], abs=1e-12)
