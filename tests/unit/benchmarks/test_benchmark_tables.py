"""The benchmarks' tables, read as they are published."""

from __future__ import annotations

import csv
import gzip
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.finetune.metrics.table_metrics import CLASSIFICATION, REGRESSION
from ernie_paddle.finetune.options import read_finetune_options
from ernie_paddle.finetune.task_type import TaskType, task_class
from propeller.errors import UserError
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

GLUE = load_suite("glue").benchmarks


@pytest.fixture(scope="module")
def tokenizer(test_data: Path) -> Tokenizer:
    return load_tokenizer(test_data / "vocab" / "bert_uncased_en_vocab.txt")


def task_of(benchmark: Benchmark, train: Path) -> TaskType:
    options = read_finetune_options({**benchmark.settings(), "train": train, "dev": "-", "output": "-"})
    options.max_length = 128
    return task_class(options.type).from_options(options)


def plain_rows(path: Path) -> list[list[str]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode("utf-8-sig").splitlines()
    return list(csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE))


# Position of the label and of the text(s) in a row, and of what it must begin with.
PLACES = {"CoLA": (1, [3]), "MRPC": (0, [3, 4]), "STS-B": (9, [7, 8])}


@pytest.mark.parametrize("name", PLACES)
def test_rows_equal_a_plain_reading(name: str, test_data: Path, tokenizer: Tokenizer) -> None:
    benchmark = GLUE[name]
    train, dev = benchmark.tables(test_data / "glue")
    data = task_of(benchmark, train).read(dev, tokenizer, labelled=True, strict=True)
    rows = plain_rows(dev)[1 if benchmark.header else 0 :]
    label, texts = PLACES[name]
    assert len(data) == len(rows)
    labels = data.content()[2]
    assert np.allclose(labels, [float(row[label]) for row in rows])
    for number in (0, 17, len(rows) - 1):
        words = [tokenizer.encode_batch([rows[number][place]]).ids.tolist() for place in texts]
        expected = [tokenizer.vocab.cls]
        for piece_ids in words:
            expected += [*piece_ids, tokenizer.vocab.sep]
        start, end = data.encoded.offsets[number : number + 2]  # type: ignore[attr-defined]
        assert data.content()[0][start:end].tolist() == expected[:128]


SAMPLES = {"CoLA": "glue_cola", "SST-2": "glue_sst2", "MNLI": "glue_mnli", "QNLI": "glue_qnli", "RTE": "glue_rte"}


@pytest.mark.parametrize("name", SAMPLES)
def test_published_layouts_are_read(name: str, test_data: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with tarfile.open(test_data / "format_samples.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    train, dev = GLUE[name].tables(tmp_path / "format_samples" / SAMPLES[name])
    task = task_of(GLUE[name], train)
    for path in (train, dev):
        assert len(task.read(path, tokenizer, labelled=True, strict=True)) >= 1


def test_the_metrics_are_those_of_the_types() -> None:
    known = {"classification": CLASSIFICATION, "regression": REGRESSION}
    for benchmark in GLUE.values():
        assert set(benchmark.metrics) <= set(known[benchmark.type])
    assert [GLUE[name].metrics[0] for name in ("CoLA", "MRPC", "STS-B")] == ["mcc", "f1", "spearman"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "CoLA").mkdir()
    (tmp_path / "CoLA" / "train.tsv").write_text("a\t1\t\tYes.\n")
    with pytest.raises(
        UserError, match=r"CoLA: dev\.tsv not found; the folder .*CoLA must contain train\.tsv, dev\.tsv"
    ):
        GLUE["CoLA"].tables(tmp_path)
    (tmp_path / "MRPC").mkdir()
    (tmp_path / "MRPC" / "msr_paraphrase_train.txt").touch()
    with pytest.raises(UserError, match=r"MRPC: .* the rows whose two ids stand in dev_ids\.tsv are dev\.tsv"):
        GLUE["MRPC"].tables(tmp_path)
    with pytest.raises(UserError, match="did you mean 'STS-B'"):
        load_suite("glue").find(["STS-BB"], "--tasks")
    assert load_suite("glue").find(["stsb", "sst2", "cola"], "--tasks") == [GLUE[n] for n in ("STS-B", "SST-2", "CoLA")]
