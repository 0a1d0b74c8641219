"""The t-test of ERNIE-GEN against counts and statistics computed elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reader.units.ngrams import NgramCounter, greedy_spans, span_keys


@pytest.fixture(scope="module")
def folder(test_data: Path) -> Path:
    return test_data / "golden" / "models" / "ngram_ttest"


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def count(folder: Path, batches: int) -> NgramCounter:
    lines = load(folder / "corpus.json")["lines"]
    counter = NgramCounter()
    for batch in range(batches):
        part = lines[batch::batches]
        words = np.array([word for line in part for word in line], dtype=np.int64)
        counter.add(words, np.cumsum([0, *map(len, part)]))
    return counter


@pytest.mark.parametrize("batches", [1, 7])
@pytest.mark.parametrize(("order", "file"), [(2, "bigrams.tsv"), (3, "trigrams.tsv")])
def test_statistics(folder: Path, batches: int, order: int, file: str) -> None:
    table = count(folder, batches).table(order)
    rows = [line.split("\t") for line in (folder / file).read_text().splitlines()[1:]]
    golden = load(folder / "counts.json")
    assert table.total == golden["total_ngrams"][str(order)]
    assert len(table.t) == golden["distinct"][str(order)] == len(rows)
    np.testing.assert_array_equal(table.words, [[int(word) for word in row[:order]] for row in rows])
    np.testing.assert_array_equal(table.counts, [int(row[order]) for row in rows])
    np.testing.assert_allclose(table.t, [float(row[order + 1]) for row in rows], rtol=0, atol=1e-9)


def test_segmentation(folder: Path) -> None:
    vocabulary = load(folder / "span_vocabulary.json")
    counter = count(folder, 1)
    bigrams = counter.table(2).words[: vocabulary["top_k_bigrams"]]
    trigrams = counter.table(3).words[: vocabulary["top_k_trigrams"]]
    assert bigrams.tolist() == vocabulary["bigrams"]
    assert trigrams.tolist() == vocabulary["trigrams"]
    sequences = load(folder / "segmentation.json")["sequences"]
    words = np.array([word for row in sequences for word in row["tokens"]], dtype=np.uint64)
    offsets = np.cumsum([0, *(len(row["tokens"]) for row in sequences)])
    begins, lengths = greedy_spans(
        words, offsets, span_keys(bigrams.astype(np.uint64)), span_keys(trigrams.astype(np.uint64))
    )
    expected = [
        (offset + begin, length)
        for offset, row in zip(offsets[:-1].tolist(), sequences, strict=True)
        for begin, length in zip(row["boundaries"][:-1], row["span_lengths"], strict=True)
        if length > 1
    ]
    assert list(zip(begins.tolist(), lengths.tolist(), strict=True)) == expected
