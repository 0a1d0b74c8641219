"""Rows with several choices: what the model is fed, and the scores, against direct computations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.finetune.task_type import task_from_dict
from ernie_paddle.finetune.tasks.multiple_choice import MultipleChoice
from propeller.errors import UserError
from reader.batches.rows import BERT_LAYOUT, encode_rows
from reader.errors import DataError
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

HEADER = ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
SWAG = HEADER + '0,v1,1,x y,x y z,y,gold,z,"z, x",x x x,y,1\n1,v1,2,x,z,x,gen,x y,y,z z,x,3\n'
WORDS = ["x", "y", "z", ","]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    return load_tokenizer(path)


def task(**changes: Any) -> MultipleChoice:
    settings = {
        "text_a": "sent1",
        "text_b": "sent2",
        "label": "label",
        "max_length": 16,
        "metric": "accuracy",
        "header": True,
        "labels": ("0", "1", "2", "3"),
        "choices": tuple(f"ending{n}" for n in range(4)),
    }
    return MultipleChoice(**{**settings, **changes})


def test_each_choice_follows_its_context_and_the_text_before_it(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "train.csv"
    path.write_text(SWAG)
    data = task().read(path, tokenizer, labelled=True, strict=True)
    assert (len(data), data.lines) == (2, [2, 3])
    batch = task().batch(data, np.array([1, 0]), labelled=True)
    assert batch["labels"].tolist() == [3, 1]
    wanted = [
        [("z", "x x y"), ("z", "x y"), ("z", "x z z"), ("z", "x x")],
        [("x y z", "y z"), ("x y z", "y z, x"), ("x y z", "y x x x"), ("x y z", "y y")],
    ]
    assert batch["input_ids"].shape[:2] == batch["segment_ids"].shape[:2] == batch["attention_mask"].shape[:2] == (2, 4)
    for row, choices in enumerate(wanted):
        for place, (context, ending) in enumerate(choices):
            alone = encode_rows(tokenizer, [context], [ending], 16, BERT_LAYOUT)
            length = len(alone.ids)
            assert batch["input_ids"][row, place, :length].tolist() == alone.ids.tolist()
            assert batch["segment_ids"][row, place, :length].tolist() == alone.segments.tolist()
            assert batch["attention_mask"][row, place].sum() == length
    # all choices of a row are padded to the longest: [CLS] x y z [SEP] y z , x [SEP]
    assert data.lengths.tolist() == [4 * 10, 4 * 7]


def test_without_a_text_before_the_choices(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "train.csv"
    path.write_text(SWAG)
    data = task(text_b=None).read(path, tokenizer, labelled=False, strict=True)
    alone = encode_rows(tokenizer, ["x y z"], ["z"], 16, BERT_LAYOUT)
    ids = task(text_b=None).batch(data, np.array([0]), labelled=False)["input_ids"]
    assert ids[0, 0, : len(alone.ids)].tolist() == alone.ids.tolist()


def test_scores_answers_and_baseline(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "train.csv"
    path.write_text(SWAG + "2,v1,2,x,z,x,gen,x y,y,z z,x,3\n")
    data = task().read(path, tokenizer, labelled=True, strict=True)
    logits = np.array([[0, 2, 0, 0], [0, 0, 0, 1], [3, 0, 0, 0]], np.float32)
    scores = task().score({"logits": logits}, data)
    chosen = [2 - np.log(3 + np.exp(2)), 1 - np.log(3 + np.e), -np.log(3 + np.exp(3))]
    assert scores == pytest.approx({"accuracy": 2 / 3, "loss": -np.mean(chosen)}, rel=1e-6)
    assert task().baseline(data) == pytest.approx({"accuracy": 2 / 3})
    answers = task().answers({"probabilities": np.array([[0.1, 0.2, 0.3, 0.4]] * 3)}, data)
    assert answers[3] == {"prediction": "3", "p(0)": 0.1, "p(1)": 0.2, "p(2)": 0.3, "p(3)": 0.4}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,v,1,x,x,y,gold,z,,x,y,1\n", "3: the choice 'ending1' is missing, empty"),
        ("0,v,1,x,,y,gold,z,z,x,y,1\n", "3: text_a .'sent1'. is empty"),
        ("0,v,1,x,x,y,gold,z,z,x,y,4\n", "3: column 'label': unknown label '4'; the labels are 0, 1, 2, 3"),
        ("0,v,1,x,x,y,gold,z,z,x,y\n", "3: 11 columns where the header has 12"),
    ],
)
def test_unusable_rows(tmp_path: Path, tokenizer: Tokenizer, line: str, message: str) -> None:
    path = tmp_path / "train.csv"
    path.write_text(HEADER + "0,v,1,x,x,,gold,z,z,x,y,1\n" + line)
    with pytest.raises(DataError, match=message):
        task().read(path, tokenizer, labelled=True, strict=True)


def test_copa(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "val.jsonl"
    row = {"premise": "x", "choice1": "y", "choice2": "z", "question": "effect", "label": 1, "idx": 0}
    path.write_text(json.dumps(row) + "\n")
    chosen = task(text_a="premise", text_b="question", choices=("choice1", "choice2"), labels=("0", "1"))
    data = chosen.read(path, tokenizer, labelled=True, strict=True, format="copa")
    batch = chosen.batch(data, np.array([0]), labelled=True)
    alone = encode_rows(tokenizer, ["x"], ["What happened as a result? z"], 16, BERT_LAYOUT)
    assert batch["input_ids"][0, 1].tolist() == alone.ids.tolist()
    assert batch["labels"].tolist() == [1]


def test_settings() -> None:
    assert task_from_dict(json.loads(json.dumps(task().to_dict())), "task.json") == task()
    with pytest.raises(UserError, match="--choices: multiple_choice needs the columns of two or more"):
        task(choices=())
    with pytest.raises(UserError, match="--labels gives 2 labels for 4 choices"):
        task(labels=("a", "b"))
    with pytest.raises(UserError, match="metric 'f1' is not a metric of multiple_choice: accuracy"):
        task(metric="f1")
