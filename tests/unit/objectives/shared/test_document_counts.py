"""token_document, tf, tf_idf and token_length on whole batches, against a walk over documents and published figures.

A corpus whose tokens are all different tells where each token of a row came from; rows of a corpus with the same
sentences and a few words, made with the same seed, are then labelled by looking those places up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_paddle.objectives.registry import make_objective
from ernie_paddle.objectives.rows import Batch, Data, Part, Row, assemble
from ernie_paddle.objectives.shared import document_counts
from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.batches.step_reader import StepReader
from helpers.objective_corpora import FIRST, Documents, documents, in_memory, make_vocab, step_reader, write
from reader.corpora.samples import SampleIndex
from reader.errors import DataError
from reader.prepare.statistics import make_statistics
from reader.report import SkipReport
from reader.tokenizers.vocab import SPECIALS, Vocab

MAX_LENGTH, OVERHEAD = 24, 3
ARRANGED: dict[str, dict[str, Any]] = {"nsp": {}}
"""NSP puts texts of two documents into a row."""


@lru_cache(maxsize=1 << 16)
def _word(token: int, seed: int, n_words: int) -> int:
    """The id, among a few, that stands where the corpus of different tokens has `token`."""
    return FIRST + int(np.random.default_rng([seed, token]).integers(n_words) ** 2 // n_words)


def _data(docs: Documents, seed: int, n_words: int) -> Data:
    (source,) = in_memory(docs, MAX_LENGTH, OVERHEAD).sources
    assert isinstance(source, SampleIndex)
    tokens = source.corpus.shards[0].tokens
    tokens[:] = [_word(token, seed, n_words) for token in tokens.tolist()]
    return Data(make_vocab(FIRST + n_words), [source], ["in-memory"], MAX_LENGTH)


def _rows_of(reader: StepReader, number: int, *names: str) -> list[tuple[list[Any], ...]]:
    """Of the rows of a step: the arrays of these names, without padding; micro-batches put back in order."""
    parts = reader.step(number).micro_batches
    rows: dict[int, tuple[list[Any], ...]] = {}
    for part, feeds in enumerate(parts):
        for row, real in enumerate(feeds["attention_mask"].astype(bool)):
            rows[part + row * len(parts)] = tuple(feeds[name][row][real].tolist() for name in names)
    return [rows[row] for row in sorted(rows)]


def _rows(reader: StepReader, *names: str) -> list[tuple[list[Any], ...]]:
    """The same of all steps of the first pass."""
    return [row for number in range(reader.plan.batches_per_epoch) for row in _rows_of(reader, number, *names)]


def _segments(docs: Documents, ids: Sequence[int]) -> Iterator[tuple[int, int, list[int], list[int]]]:
    """(place in the row, token, tokens of its document, tokens of its document in the row) for each text token."""
    document_of = {t: [t for s in d for t in s] for d in docs.sentences() for s in d for t in s}
    for place, token in enumerate(ids):
        if token in document_of:
            document = document_of[token]
            yield place, token, document, [t for t in ids if t in set(document)]


def _scaled(value: float, values: Sequence[float]) -> float:
    low, high = min(values), max(values)
    return 10 * (value - low) / (high - low) if high > low else 0.0


def _expected(name: str, docs: Documents, ids: Sequence[int], seed: int, n_words: int) -> list[float]:
    """The labels of a row, from the definition."""
    texts = [[_word(t, seed, n_words) for s in d for t in s] for d in docs.sentences()]
    found = [-100.0] * len(ids)
    for place, token, document, segment in _segments(docs, ids):
        mine = _word(token, seed, n_words)
        whole = [_word(t, seed, n_words) for t in document]
        rest = [_word(t, seed, n_words) for t in document if t not in segment]
        if name == "token_document":
            found[place] = float(mine in rest)
        elif name == "tf":
            found[place] = _scaled(whole.count(mine), [whole.count(w) for w in whole])
        elif name == "tf rest":
            found[place] = _scaled(rest.count(mine), [rest.count(_word(t, seed, n_words)) for t in segment])
        elif name == "tf_idf":
            raw = {w: whole.count(w) * math.log(len(texts) / sum(w in text for text in texts)) for w in whole}
            found[place] = _scaled(raw[mine], list(raw.values()))
    return found


@settings(max_examples=25, deadline=None)
@given(
    documents(), st.integers(0, 3), st.integers(2, 12), st.sampled_from([2, 10, 4096]), st.sampled_from([3, 1 << 21])
)
def test_labels_are_those_of_the_definition(docs: Documents, seed: int, n_words: int, long: int, kept: int) -> None:
    """Rows of one document and of two, masked ones too; documents long and short; kept counts and dropped ones."""
    origins = _rows(step_reader(in_memory(docs, MAX_LENGTH, OVERHEAD), ARRANGED, overhead=OVERHEAD), "input_ids")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document_counts, "_LONG", long)
        patch.setattr(document_counts, "_KEPT", kept)
        chosen: dict[str, dict[str, Any]]
        for name, chosen in (("token_document", {}), ("tf", {}), ("tf rest", {"of": "rest"})):  # type: ignore[assignment]
            objective = name.split()[0]
            objectives = {"mlm": {}, objective: chosen} | ARRANGED
            reader = step_reader(_data(docs, seed, n_words), objectives, overhead=OVERHEAD)
            for (ids,), (labels,) in zip(origins, _rows(reader, f"{objective}_labels"), strict=True):
                np.testing.assert_allclose(labels, _expected(name, docs, ids, seed, n_words), rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(documents(), st.integers(0, 3), st.integers(2, 12))
def test_tf_idf_is_that_of_the_definition(
    tmp_path_factory: pytest.TempPathFactory, docs: Documents, seed: int, n_words: int
) -> None:
    path = tmp_path_factory.mktemp("corpus")
    tokens = [_word(t, seed, n_words) for t in docs.shard().tokens.tolist()]
    write(path, docs, make_vocab(FIRST + n_words), tokens)
    task = TaskData("test", {"nsp": {}, "tf_idf": {}}, [(str(path), 1.0)], MAX_LENGTH, batch_rows=8, min_tokens=1)
    with pytest.raises(DataError, match="ernie stats"):
        task.open()
    make_statistics(path)
    reader = task.open()
    unlike = in_memory(docs, MAX_LENGTH, OVERHEAD)
    origins = _rows(StepReader("test", [make_objective("nsp")], reader.plan, unlike, seed=0), "input_ids")
    for (ids,), (labels,) in zip(origins, _rows(task.open(), "tf_idf_labels"), strict=True):
        np.testing.assert_allclose(labels, _expected("tf_idf", docs, ids, seed, n_words), rtol=1e-5, atol=1e-6)


def test_documents_of_two_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each corpus has document frequencies of its own, and documents with numbers from 0, some long, some short."""
    monkeypatch.setattr(document_counts, "_LONG", 6)
    lengths = [[[3], [9], [4], [8]], [[7], [2], [5]]]
    texts: list[list[list[int]]] = []
    rng = np.random.default_rng(0)
    for number, corpus in enumerate(lengths):
        # The second corpus has two words that the first has not.
        texts.append([(FIRST + rng.integers(4 + 2 * number, size=d[0])).tolist() for d in corpus])
        path = write(
            tmp_path / str(number), Documents(corpus, 0), make_vocab(FIRST + 6), [t for d in texts[-1] for t in d]
        )
        make_statistics(path)
    paths = [(str(tmp_path / str(number)), 1.0) for number in range(2)]
    reader = TaskData("test", {"tf_idf": {}, "token_document": {}}, paths, 16, batch_rows=7, min_tokens=1).open()
    seen = set()
    for step in range(4):
        for ids, labels in _rows_of(reader, step, "input_ids", "tf_idf_labels"):
            (corpus,) = [c for c in range(2) if ids[1:-1] in texts[c]]
            document = ids[1:-1]
            raw = [
                document.count(t) * math.log(len(texts[corpus]) / sum(t in other for other in texts[corpus]))
                for t in document
            ]
            np.testing.assert_allclose(labels[1:-1], [_scaled(value, raw) for value in raw], rtol=1e-5, atol=1e-6)
            seen.add((corpus, len(document) >= 6))
    assert len(seen) == 4


def test_micro_batches_have_the_same_labels() -> None:
    docs = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4], [8, 8], [5], [2, 9, 4]] * 3, 3)
    names = ("token_document_labels", "tf_labels", "token_length_labels")
    objectives: dict[str, dict[str, Any]] = {"token_document": {}, "tf": {}, "token_length": {}, "mlm": {}}
    whole, cut = (
        _rows(
            step_reader(_data(docs, 0, 9), objectives | ARRANGED, overhead=OVERHEAD, micro_batch_tokens=limit), *names
        )
        for limit in (None, 2 * MAX_LENGTH)
    )
    assert whole == cut
    assert {0, 1} <= {label for row in whole for label in row[0]}


def _batch(data: Data, parts: Sequence[Sequence[Part]]) -> Batch:
    """Rows put together by hand."""
    examples = [assemble(row, data) for row in parts]
    shape = len(examples), max(len(example.ids) for example in examples)
    arrays = {
        "ids": np.zeros(shape, np.int64),
        "segments": np.zeros(shape, np.int64),
        "flags": np.zeros(shape, np.uint8),
        "documents": np.full(shape, -1, np.int32),
        "special": np.zeros(shape, np.bool_),
        "real": np.zeros(shape, np.bool_),
    }
    for b, example in enumerate(examples):
        for name in ("ids", "segments", "flags", "documents", "special"):
            arrays[name][b, : len(example.ids)] = getattr(example, name)
        arrays["real"][b, : len(example.ids)] = True
    rows = [Row(data.sources[0].sample(0), 0, 0, 0, shape[1], data, 0, SkipReport()) for _ in examples]
    return Batch(
        **arrays,  # type: ignore[arg-type]
        original=arrays["ids"].copy(),
        corrupted=np.zeros(shape, np.bool_),
        rows=rows,
        examples=examples,
        data=data,
        keys=np.arange(len(rows), dtype=np.uint64),
    )


def test_golden_tf_and_tf_idf(test_data: Path, tmp_path: Path) -> None:
    """tf, tf-idf, and tf in the rest of the document, of ten documents."""
    golden = json.loads((test_data / "golden" / "models" / "labels" / "tf_tfidf.json").read_text())
    texts = [document["tokens"] for document in golden["documents"]]
    vocab = make_vocab(40)
    docs = Documents([[len(text)] for text in texts], 0)
    path = write(tmp_path, docs, vocab, [FIRST + t for text in texts for t in text])
    make_statistics(path)
    reader = TaskData("test", {"tf_idf": {}}, [(path, 1.0)], 64, batch_rows=4, min_tokens=1).open()
    data = reader.data
    flags = np.zeros(64, np.uint8)

    def part(number: int, start: int, stop: int) -> Part:
        return Part(np.array(texts[number][start:stop], np.int64) + FIRST, flags[: stop - start], number)

    whole = _batch(data, [[part(number, 0, len(text))] for number, text in enumerate(texts)])
    for name, key in (("tf", "tf_label"), ("tf_idf", "tfidf_label")):
        objective = make_objective(name)
        objective = objective.with_data(data)
        _, values = objective.measure(whole)
        expected = [value for document in golden["documents"] for value in document[key]]
        np.testing.assert_allclose(values, expected, atol=1e-9, rtol=0)
    rest = make_objective("tf", {"of": "rest"})
    rest = rest.with_data(data)
    with_segment = [number for number, document in enumerate(golden["documents"]) if document.get("segment")]
    # Two documents in a row, and in reverse: each has a scale of its own.
    order = with_segment[::-1]
    segments = _batch(data, [[part(number, *golden["documents"][number]["segment"]) for number in order[i : i + 2]]
                             for i in range(0, len(order), 2)])  # fmt: skip
    _, values = rest.measure(segments)
    expected = [value for number in order for value in golden["documents"][number]["tf_rest_of_document_label"]]
    np.testing.assert_allclose(values, expected, atol=1e-9, rtol=0)


def test_tokens_from_elsewhere() -> None:
    """The row showed 5 6 7 7 5, and another objective replaced the last three by 7 8 9: 9 is in no document."""
    data = _data(Documents([[4, 4]], 0), 0, 9)
    document = data.sources[0].document(0)
    document.tokens[:] = [5, 6, 7, 7, 5, 8, 8, 8]
    for name, expected in (
        ("token_document", [0, 0, 0, 1, 0]),
        ("tf", [5.0, 0.0, 5.0, 10.0, 0.0]),
    ):
        batch = _batch(data, [[Part(document.tokens[:5], document.flags[:5], 0)]])
        batch.original[0, 3:6] = [7, 8, 9]
        objective = make_objective(name)
        objective = objective.with_data(data)
        (labels,) = objective.label(batch).values()
        assert labels[0, 1:6].tolist() == expected


@settings(max_examples=15, deadline=None)
@given(documents(), st.integers(0, 3), st.booleans())
def test_lengths_are_those_of_the_pieces(docs: Documents, seed: int, first: bool) -> None:
    """Rows of two documents, beside masking in either order: the letters after the mark, of what stood there."""
    rng = np.random.default_rng(seed)
    marks, letters = rng.choice(["", "##", "▁"], docs.n_tokens), rng.integers(1, 9, docs.n_tokens)
    sizes = {FIRST + i: int(n) + len(str(i)) for i, n in enumerate(letters.tolist())}
    pieces = [f"{mark}{'é' * n}{i}" for i, (mark, n) in enumerate(zip(marks, letters.tolist(), strict=True))]
    plain = in_memory(docs, MAX_LENGTH, OVERHEAD)
    data = Data(Vocab([*SPECIALS, *pieces], "test vocabulary"), plain.sources, plain.paths, MAX_LENGTH)
    origins = _rows(step_reader(data, ARRANGED, overhead=OVERHEAD), "input_ids")
    pair: list[tuple[str, dict[str, Any]]] = [("token_length", {}), ("mlm", {"rate": 0.5})]
    reader = step_reader(data, dict(pair if first else pair[::-1]) | ARRANGED, overhead=OVERHEAD)
    for (ids,), (labels,) in zip(origins, _rows(reader, "token_length_labels"), strict=True):
        assert labels == [sizes.get(token, -100) for token in ids]


def test_length_of_tokens(tmp_path: Path) -> None:
    """Characters without the marks of WordPiece and SentencePiece; [UNK] has none."""
    vocab = Vocab([*SPECIALS, "a", "##ing", "▁Wörter", "#", "文"], "test vocabulary")
    docs = Documents([[6]], 0)
    path = write(tmp_path, docs, vocab, [vocab.unk, 5, 6, 7, 8, 9])
    reader = TaskData("test", {"token_length": {}, "mlm": {}}, [(path, 1.0)], 16, batch_rows=1, min_tokens=1).open()
    (feeds,) = reader.step(0).micro_batches
    assert feeds["token_length_labels"].dtype == np.float32
    assert feeds["token_length_labels"].tolist() == [[-100, -100, 1, 3, 6, 1, 1, -100]]
