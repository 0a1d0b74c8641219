"""Kinds of corpora: one place opens them all, a new kind is one line there, and what is in use is opened once."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.cli.main import main
from ernie_paddle.objectives.base import Objective, ObjectiveSettings
from ernie_paddle.pretraining.batches.step_data import TaskData
from helpers.objective_corpora import FIRST, Documents, make_vocab, write
from helpers.pair_corpora import prepared
from propeller.errors import UserError
from reader.corpora import kinds
from reader.corpora.corpus import CORPUS_FILE, Corpus, read_corpus_info
from reader.corpora.kinds import KINDS, CorpusKind, corpus_kind, open_samples
from reader.corpora.pairs import PairIndex
from reader.corpora.samples import SampleIndex
from reader.errors import DataError

DOCS = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4], [8, 8], [5], [2, 9, 4]] * 3, 3)
SOME = [((FIRST, FIRST + 1), (FIRST + 2,), "yes"), ((FIRST + 3,), (FIRST + 4, FIRST + 5), "no")] * 4


class Backwards(SampleIndex):
    """A third kind of samples: documents whose samples come from the last to the first."""

    def sample(self, k: int):  # type: ignore[no-untyped-def]
        return super().sample(len(self) - 1 - k)


def backwards_corpus(folder: Path) -> str:
    """A corpus of documents that says that it is of another kind."""
    path = Path(write(folder, DOCS, make_vocab(FIRST + DOCS.n_tokens)))
    info = json.loads((path / CORPUS_FILE).read_text())
    (path / CORPUS_FILE).write_text(json.dumps({**info, "kind": "backwards"}))
    return str(path)


class _Documents(Corpus):
    @classmethod
    def open(cls, path, split="train"):  # type: ignore[no-untyped-def]
        info = read_corpus_info(path)
        (Path(path) / CORPUS_FILE).write_text(json.dumps({**info, "kind": "documents"}))
        try:
            return Corpus.open(path, split)
        finally:
            (Path(path) / CORPUS_FILE).write_text(json.dumps(info))


def open_backwards(path: str, split: str, most: int, least: int) -> Backwards:
    return Backwards(_Documents.open(path, split), most, least)


class ReadsBackwards(Objective[ObjectiveSettings]):
    name = "reads_backwards"
    reads = "backwards"


def test_the_kind_in_corpus_json_decides(tmp_path: Path) -> None:
    documents = write(tmp_path / "documents", DOCS, make_vocab(FIRST + DOCS.n_tokens))
    pairs = prepared(tmp_path / "pairs", SOME)
    assert (corpus_kind(documents), corpus_kind(pairs)) == ("documents", "pairs")
    assert isinstance(open_samples(documents, "train", 20, 1), SampleIndex)
    assert isinstance(open_samples(pairs, "train", 20, 1), PairIndex)


def test_a_third_kind_is_registered_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = backwards_corpus(tmp_path / "corpus")
    with pytest.raises(DataError, match="kind 'backwards' is not known here"):
        open_samples(path, "train", 20, 1)
    monkeypatch.setitem(KINDS, "backwards", CorpusKind("documents in reverse", "make backwards", open_backwards))
    assert corpus_kind(path) == "backwards"
    objective = ReadsBackwards(ObjectiveSettings())
    found = objective.open(path, "train", 20, 1)
    plain = SampleIndex(_Documents.open(path), 20, 1)
    assert found.sample(0).tokens.tolist() == plain.sample(len(plain) - 1).tokens.tolist()
    assert found.sample(0).tokens.tolist() != plain.sample(0).tokens.tolist()
    message = r"holds documents in reverse, but .* reads documents: make a corpus of them with `ernie prepare`"
    with pytest.raises(UserError, match=message):
        TaskData("t", {"mlm": {}}, [(path, 1.0)], 22, batch_rows=2, min_tokens=1).open()
    documents = write(tmp_path / "documents", DOCS, make_vocab(FIRST + DOCS.n_tokens))
    with pytest.raises(UserError, match=r"holds documents, but reads_backwards reads documents in reverse: .*`make"):
        objective.open(documents, "train", 20, 1)
    make_vocab_files(Path(path))
    assert main(["inspect", path]) == 0
    assert "corpus of documents in reverse" in capsys.readouterr().out


def make_vocab_files(folder: Path) -> None:
    from reader.tokenizers.wordpiece import WordPieceTokenizer

    WordPieceTokenizer(make_vocab(FIRST + DOCS.n_tokens), lowercase=True).save(folder)


def test_what_is_in_use_is_opened_once_and_then_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any number of corpora, as many languages have; nothing is kept that nobody uses."""
    opened: list[str] = []
    plain = KINDS["documents"].open

    def counted(path: str, split: str, most: int, least: int):  # type: ignore[no-untyped-def]
        opened.append(path)
        return plain(path, split, most, least)

    monkeypatch.setitem(KINDS, "documents", CorpusKind("documents", "ernie prepare", counted))
    paths = [str(write(tmp_path / str(n), DOCS, make_vocab(FIRST + DOCS.n_tokens))) for n in range(70)]
    first = [open_samples(path, "train", 20, 1) for path in paths]
    again = [open_samples(path, "train", 20, 1) for path in paths]
    assert all(one is other for one, other in zip(first, again, strict=True))
    assert len(opened) == 70
    assert open_samples(paths[0], "train", 21, 1) is not first[0]
    del first, again
    gc.collect()
    assert not [key for key in kinds._in_use if key[1] in paths]
    assert np.array_equal(open_samples(paths[0], "train", 20, 1).lengths, plain(paths[0], "train", 20, 1).lengths)
