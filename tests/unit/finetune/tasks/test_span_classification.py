"""Spans of words as positions of a row, against a tokenizer of single characters where positions can be counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.finetune.task_type import task_from_dict
from ernie_paddle.finetune.tasks.span_classification import SPAN_WEIGHTS, SpanClassification, SpanDataset
from propeller.errors import UserError
from reader.errors import DataError
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

WIC = {
    "word": "bank",
    "sentence1": "a bank by the sea",
    "sentence2": "he went to banks",
    "start1": 2,
    "end1": 6,
    "start2": 11,
    "end2": 16,
    "label": True,
    "idx": 0,
}
WSC = {
    "text": "Tom saw the old men because he hid.",
    "target": {"span1_index": 2, "span1_text": "the old men", "span2_index": 6, "span2_text": "he"},
    "label": False,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Every letter is a piece of its own, so that pieces are characters without spaces."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *letters, *(f"##{letter}" for letter in letters)]
    path.write_text("\n".join(pieces) + "\n")
    return load_tokenizer(path)


def task(**changes: Any) -> SpanClassification:
    settings = {
        "text_a": "sentence1",
        "text_b": "sentence2",
        "label": "label",
        "max_length": 64,
        "metric": "accuracy",
        "header": True,
        "labels": ("false", "true"),
        "spans": (("start1", "end1"), ("start2", "end2")),
    }
    return SpanClassification(**{**settings, **changes})


def winograd(**changes: Any) -> SpanClassification:
    spans = tuple((f"target.span{n}_index", f"target.span{n}_text") for n in (1, 2))
    return task(**{"text_a": "text", "text_b": None, "spans": spans, "span_unit": "words", **changes})


def read(folder: Path, chosen: SpanClassification, tokenizer: Tokenizer, *rows: object, **options: Any) -> SpanDataset:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return chosen.read(path, tokenizer, **{"labelled": True, "strict": True, **options})  # type: ignore[return-value]


def shown(data: SpanDataset, tokenizer: Tokenizer) -> list[list[str]]:
    """The text of each span's positions."""
    starts = data.encoded.offsets[:-1]
    return [
        ["".join(tokenizer.decode(data.encoded.ids[start + a : start + b].tolist()).split()) for a, b in spans]
        for start, spans in zip(starts, data.spans, strict=True)
    ]


def test_words_of_two_texts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = read(tmp_path, task(), tokenizer, WIC, {**WIC, "start1": 0, "end1": 1, "start2": "0", "end2": 7})
    assert shown(data, tokenizer) == [["bank", "banks"], ["a", "hewent"]]
    assert data.labels is not None
    assert data.labels.tolist() == [1, 1]
    # 1 for [CLS], 13 letters of the first text, 1 for its [SEP]
    assert data.spans.tolist() == [[[2, 6], [1 + 13 + 1 + 8, 1 + 13 + 1 + 13]], [[1, 2], [15, 21]]]


def test_words_of_one_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert shown(read(tmp_path, winograd(), tokenizer, WSC), tokenizer) == [["theoldmen", "he"]]


def test_what_the_model_is_fed_takes_the_mean_of_the_pieces(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = read(tmp_path, winograd(), tokenizer, WSC, {**WSC, "text": "he met the old men then he ran far away"})
    batch = winograd().batch(data, np.array([1, 0]), labelled=True)
    weights, length = batch[SPAN_WEIGHTS], batch["input_ids"].shape[1]
    assert weights.shape == (2, 2, length)
    assert weights.dtype == np.float32
    for place, row in enumerate([1, 0]):
        for number, (first, end) in enumerate(data.spans[row]):
            vectors = np.random.default_rng(number).normal(size=(length, 3))
            assert weights[place, number] @ vectors == pytest.approx(vectors[first:end].mean(axis=0), rel=1e-6)


def test_a_span_that_is_cut_in_part_keeps_its_beginning_and_one_cut_off_is_refused(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    # Tomsawtheoldmenbecausehe hid.: he begins after 22 letters
    assert shown(read(tmp_path, winograd(max_length=25), tokenizer, WSC), tokenizer)[0][1] == "h"
    with pytest.raises(DataError, match=r"rows.jsonl:1: span 2 is cut off: only 22 pieces .* raise --max_length"):
        read(tmp_path, winograd(max_length=24), tokenizer, WSC)
    data = read(
        tmp_path,
        winograd(max_length=24),
        tokenizer,
        WSC,
        {
            "text": "he he",
        },
        WSC,
        strict=False,
    )
    assert ([line for line, _ in data.problems], len(data), data.spans.shape) == ([1, 2, 3], 0, (0, 2, 2))


def test_other_words_than_the_table_says_are_counted(tmp_path: Path, tokenizer: Tokenizer) -> None:
    wrong = {**WSC, "target": {**WSC["target"], "span2_text": "she"}}  # type: ignore[dict-item]
    data = read(tmp_path, winograd(), tokenizer, WSC, wrong)
    assert shown(data, tokenizer)[1] == ["theoldmen", "he"]
    assert data.describe().startswith("2 rows (in 1 of them, the first in line 2, ")
    assert read(tmp_path, winograd(), tokenizer, WSC).describe() == "1 rows"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start1": 40}, ":1: span 1 .start1:end1.: characters 40 to 6 are not words of a text of 17"),
        ({"end2": None}, ":1: span 2 .start2:end2.: a place is missing"),
        ({"sentence2": ""}, ":1: text_b .'sentence2'. is empty"),
        ({"sentence1": "a\u200b\u200b\u200b\u200b\u200b", "label": False}, ":1: span 1: the vocabulary has no piece"),
    ],
)
def test_unusable_rows(tmp_path: Path, tokenizer: Tokenizer, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, task(), tokenizer, {**WIC, **change})


def test_settings() -> None:
    for chosen in (task(), winograd()):
        assert task_from_dict(json.loads(json.dumps(chosen.to_dict())), "task.json") == chosen
    with pytest.raises(UserError, match="--spans: span_classification needs two columns"):
        task(spans=())
    with pytest.raises(UserError, match="two texts need two spans, one in each; found 1"):
        task(spans=(("start1", "end1"),))
    table = "sentence1\tsentence2\tlabel\n"
    with pytest.raises(DataError, match="no column 'start1'"):
        _read_table(table)


def _read_table(content: str) -> None:
    import io
    from types import SimpleNamespace

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
        task().read("-", None, labelled=True, strict=True)  # type: ignore[arg-type]
