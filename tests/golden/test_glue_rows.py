"""GLUE's tables as another project's reader (MT-DNN) encodes them for BERT: pieces, segments and labels."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.finetune.tasks.classification import Classification
from ernie_paddle.finetune.tasks.regression import Regression
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

_ENTAILMENT = ("not_entailment", "entailment")


@dataclass(frozen=True)
class Table:
    """The columns of a GLUE task; `labels` in MT-DNN's order, none for a score; columns of files without header."""

    text_a: str
    text_b: str | None
    label: str
    labels: tuple[str, ...] = ("0", "1")
    headless: dict[str, str] | None = None


TABLES = {
    "CoLA": Table("sentence", None, "label", headless={"text_a": "4", "label": "2"}),
    "SST-2": Table("sentence", None, "label"),
    "MRPC": Table("#1 String", "#2 String", "Quality"),
    "STS-B": Table("sentence1", "sentence2", "score", labels=()),
    "QQP": Table("question1", "question2", "is_duplicate"),
    # MT-DNN numbers neutral 1 and entailment 2; which order is taken only permutes the classifier's outputs.
    "MNLI": Table("sentence1", "sentence2", "gold_label", ("contradiction", "neutral", "entailment")),
    "QNLI": Table("question", "sentence", "label", _ENTAILMENT),
    "RTE": Table("sentence1", "sentence2", "label", _ENTAILMENT),
    "WNLI": Table("sentence1", "sentence2", "label"),
}
_NAMES = {"SST-2": "sst", "STS-B": "stsb"}


@pytest.fixture(scope="module")
def rows(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `tests` and `int_test_data`."""
    folder = tmp_path_factory.mktemp("mtdnn")
    with tarfile.open(test_data / "golden" / "mtdnn_glue_prepro_bert_uncased.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "mtdnn"


@pytest.fixture(scope="module")
def tokenizer(test_data: Path) -> Tokenizer:
    return load_tokenizer(test_data / "vocab" / "bert_uncased_en_vocab.txt")


def check(path: Path, tokenizer: Tokenizer, expected: Path, table: Table, *, header: bool, labelled: bool) -> int:
    """Read a table with our reader and compare every row; returns how many there were."""
    columns = {"text_a": table.text_a, "text_b": table.text_b, "label": table.label}
    if not header:
        columns |= table.headless or {}
    common = {**columns, "max_length": 512, "header": header}
    task = (
        Classification(**common, metric="accuracy", labels=table.labels)
        if table.labels
        else Regression(**common, metric="pearson")
    )
    data = task.read(path, tokenizer, labelled=labelled, strict=True)
    wanted = [json.loads(line) for line in expected.read_text().split("\n") if line]
    assert len(data) == len(wanted)
    for row, record in enumerate(wanted):
        batch = task.batch(data, np.array([row]), labelled)
        assert batch["input_ids"].tolist() == [record["token_id"]]
        assert batch["segment_ids"].tolist() == [record["type_id"]]
        assert batch["attention_mask"].tolist() == [record.get("attention_mask", [1] * len(record["token_id"]))]
        if labelled:
            assert batch["labels"].tolist() == pytest.approx([record["label"]])
    return len(wanted)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_tables_of_the_glue_download(rows: Path, tokenizer: Tokenizer, name: str, part: str) -> None:
    """The raw tables, all nine tasks; the rows of the test sets have no labels (MT-DNN writes 0)."""
    samples = rows / "tests" / "sample_data"
    kinds = ("_matched", "_mismatched") if name == "MNLI" and part != "train" else ("",)
    for kind in kinds:
        header = TABLES[name].headless is None or part == "test"
        expected = samples / "output" / f"{_NAMES.get(name, name.lower())}{kind}_{part}.json"
        source = samples / "input" / name / f"{part}{kind}.tsv"
        assert check(source, tokenizer, expected, TABLES[name], header=header, labelled=part != "test") >= 1


@pytest.mark.parametrize(("name", "pair"), [("cola", False), ("stsb", True), ("mnli", True)])
def test_more_rows_from_tables_without_header(rows: Path, tokenizer: Tokenizer, name: str, pair: bool) -> None:
    """MT-DNN's own tables: number, label and texts."""
    folder = rows / "int_test_data" / "glue"
    labels = {"stsb": (), "mnli": TABLES["MNLI"].labels}.get(name, ("0", "1"))
    table = Table("3", "4" if pair else None, "2", labels)
    expected = folder / "expected" / "prepro_std" / "bert_base_uncased_lower" / f"{name}_train.json"
    path = folder / "input" / "prepro_std" / f"{name}_train.tsv"
    assert check(path, tokenizer, expected, table, header=False, labelled=True) == 5
