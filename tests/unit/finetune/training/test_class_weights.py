"""Weights of classes: balanced ones against scikit-learn, the loss against NumPy, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from sklearn.utils.class_weight import compute_class_weight

from ernie_paddle.finetune.options import read_finetune_options
from ernie_paddle.finetune.tasks.classification import Classification
from ernie_paddle.finetune.tasks.text_task import TextDataset
from ernie_paddle.finetune.training.class_weights import WEIGHT_INPUT, class_weights
from propeller.errors import UserError
from propeller.graph.inputs import Input
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

COMMON: dict[str, Any] = {"text_a": "a", "text_b": None, "label": "label", "max_length": 16, "header": True}
LABELS = ("a", "b", "c")
TASK = Classification(**COMMON, metric="accuracy", labels=LABELS)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "x"]) + "\n")
    return load_tokenizer(path)


def table(folder: Path, tokenizer: Tokenizer, labels: str) -> TextDataset:
    path = folder / "t.tsv"
    path.write_text("a\tlabel\n" + "".join(f"x\t{label}\n" for label in labels))
    return TASK.read(path, tokenizer, labelled=True, strict=True)


def test_balanced_weights_are_those_of_scikit_learn(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = table(tmp_path, tokenizer, "aaaaabbbcaab")
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=data.labels)
    assert class_weights(["balanced"], TASK.labels, data) == pytest.approx(tuple(wanted))
    assert class_weights(["1", "2.5", "0.1"], TASK.labels, data) == (1.0, 2.5, 0.1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("1,2", "2 numbers for 3 labels, which are a, b, c"),
        ("1,2,x", "1,2,x: give numbers above 0, or balanced"),
        ("1,2,0", "give numbers above 0"),
        ("1,2,nan", "give numbers above 0"),
        ("balanced", "no row of .*t.tsv has the label 'b'; give numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, tokenizer: Tokenizer, asked: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        class_weights(asked.split(","), TASK.labels, table(tmp_path, tokenizer, "aac"))


@pytest.mark.parametrize("type", ["regression", "multiple_choice", "question_answering", "labelling", "retrieval"])
def test_only_classes_of_rows_have_weights(type: str) -> None:
    """The labels of a multiple choice are the places of choices, which mean nothing by themselves."""
    message = f"--class_weights is for classification and span_classification; remove it for --type {type}"
    with pytest.raises(UserError, match=message):
        read_finetune_options({"type": type, "train": "t", "dev": "d", "output": "o", "class_weights": "1,2"})


def test_the_loss_is_the_weighted_mean_however_the_batch_is_cut() -> None:
    """Also where the weights of a whole step add up to less than 1, and where a micro-batch has no label."""

    class Logits(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            initial = paddle.nn.initializer.Normal(std=1.0)
            self.table = self.create_parameter([9, 3], attr=paddle.ParamAttr(name="table", initializer=initial))

        def forward(self, values: Any) -> Any:
            return paddle.nn.functional.embedding(values["x"], self.table)

    inputs = (Input("x", (None,), "int64"), TASK.label_input, WEIGHT_INPUT)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 12), rng.integers(0, 3, 12)
    y[7:9] = -100
    w = np.where(y < 0, 0, np.array([0.01, 0.05, 0.1])[np.maximum(y, 0)]).astype(np.float32)
    for cuts in ((), (3,), (7, 9)):
        learner = Learner(OptimizerConfig("adam", weight_decay=0), seed=0)
        learner.add(ProgramSpec("t", inputs, Logits, TASK.losses))
        logits = learner.parameters()["table"].astype(np.float64)[x]
        parts = [np.split(array, cuts) for array in (x, y, w)]
        names = [item.name for item in inputs]
        micro = [dict(zip(names, arrays, strict=True)) for arrays in zip(*parts, strict=True)]
        result = learner.train_step("t", micro, 0.1)
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        real, k = y >= 0, np.maximum(y, 0)
        share = (w / w.sum())[:, None]
        assert w.sum() < 1
        losses = -np.log(probabilities[np.arange(12), k])
        assert result.loss == pytest.approx((share[:, 0] * losses)[real].sum(), rel=1e-5)
        right = (probabilities.argmax(1) == y) * share[:, 0]
        assert result.metrics["classification_accuracy"] == pytest.approx(right.sum(), rel=1e-5)
        gradient = np.zeros((9, 3))
        np.add.at(gradient, x, share * (probabilities - np.eye(3)[k]))
        assert result.grad_norm == pytest.approx(np.sqrt((gradient**2).sum()), rel=1e-5)
