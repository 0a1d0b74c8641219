"""Trained vocabularies: the same on every run, in the promised order, and of use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT
from reader.errors import DataError
from reader.prepare.vocabulary import train_vocab, train_wordpiece
from reader.report import SkipReport
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.vocab import SPECIALS

TEXT = """The quick brown fox jumps over the lazy dog. Quicker foxes jumped over lazier dogs, and the dogs slept.
Naïve cafés open at 7:30. 中国人民很大。 Some words are repeated, repeated and repeated once more; others are not.
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    lines = [f"{TEXT} Number {n} follows {n * n}." for n in range(200)]
    path.write_text("\n\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_trained_vocabulary(text: Path, tmp_path: Path, kind: str) -> None:
    trained = train_vocab([text], tmp_path / "v", 220, kind=kind)
    loaded = load_tokenizer(tmp_path / "v")
    assert loaded.vocab.pieces[:5] == list(SPECIALS)
    assert loaded.vocab.special_ids == (0, 1, 2, 3, 4)
    assert 100 < loaded.vocab.size <= 220
    assert loaded.config() == trained.config()
    batch = loaded.encode_batch([TEXT])
    assert (batch.ids != loaded.vocab.unk).all()
    assert len(batch.ids) < 0.6 * len(TEXT)  # words and parts of words, not single letters


def test_another_process_trains_the_same(text: Path, tmp_path: Path) -> None:
    # The library's hash maps are seeded anew in each process and in each run.
    train_vocab([text], tmp_path / "a", 220)
    code = (
        f"from reader.prepare.vocabulary import train_vocab; train_vocab([{str(text)!r}], {str(tmp_path / 'b')!r}, 220)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, timeout=120)
    assert (tmp_path / "a" / "vocab.txt").read_bytes() == (tmp_path / "b" / "vocab.txt").read_bytes()


def test_wordpiece_alphabet() -> None:
    pieces = train_wordpiece(lambda: iter(["Éa b, 中 b", "b"] * 50), 60, lowercase=True)
    assert set(pieces[5:]) >= {"e", "##e", "a", "##a", "b", "##b", ",", "中"}
    assert not set(pieces) & {"##,", "##中", "é", "E"}
    cased = train_wordpiece(lambda: iter(["Éa b"] * 50), 60, lowercase=False)
    assert "É" in cased
    rare = ["ab" * 500] * 20 + ["z"]
    assert "z" in train_wordpiece(lambda: iter(rare), 60, character_coverage=1.0)
    assert "z" not in train_wordpiece(lambda: iter(rare), 60, character_coverage=0.999)


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_full_coverage_is_full(tmp_path: Path, kind: str) -> None:
    # One 中 among 20,000 other characters: outside of the share .9999.
    (tmp_path / "t.txt").write_text("the old mill stood there\n" * 1000 + "中\n", encoding="utf-8")
    found = {
        coverage: "中" in "".join(train_vocab(
            [tmp_path / "t.txt"], tmp_path / kind, 60, kind=kind, character_coverage=coverage, overwrite=True
        ).vocab.pieces)
        for coverage in (0.999, 1.0)
    }  # fmt: skip
    assert found == {0.999: False, 1.0: True}


def test_unusable_settings_and_text(text: Path, tmp_path: Path) -> None:
    for settings, message in [
        ({"kind": "bpe"}, "'bpe' is not known"),
        ({"vocab_size": 3}, "32 or more"),
        ({"character_coverage": 0.5}, "character_coverage"),
        ({"character_coverage": 0.97, "kind": "sentencepiece"}, "from 0.98 to 1 for sentencepiece"),
        ({"format": "csv"}, "'csv' is not known"),
    ]:
        with pytest.raises(DataError, match=message):
            train_vocab([text], tmp_path / "v", **{"vocab_size": 100, **settings})  # type: ignore[arg-type]
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_text('{"text": ""}\n')
    for kind in ("wordpiece", "sentencepiece"):
        with pytest.raises(DataError, match="no usable text"):
            train_vocab([nothing], tmp_path / "v", 100, kind=kind)
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_what_is_left_out_is_counted_once(text: Path, tmp_path: Path, kind: str) -> None:
    text.write_bytes(text.read_bytes() + b"\ncaf\xe9\n")
    report = SkipReport()
    train_vocab([text], tmp_path / "v", 100, kind=kind, report=report)
    assert report.counts == {"line with undecodable bytes (not UTF-8)": 1}
    text.write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"(?s)no usable text.*1 × line with undecodable"):
        train_vocab([text], tmp_path / "w", 100, kind=kind)


def test_other_things_in_the_folder_are_kept(text: Path, tmp_path: Path) -> None:
    first = train_vocab([text], tmp_path / "v", 100)
    train_vocab([text], tmp_path / "v", 100)  # the same again
    for settings in ({"vocab_size": 120}, {"vocab_size": 100, "kind": "sentencepiece"}):
        with pytest.raises(DataError, match=r"another vocabulary; .*--overwrite"):
            train_vocab([text], tmp_path / "v", **settings)  # type: ignore[arg-type]
    assert load_tokenizer(tmp_path / "v").config() == first.config()
    train_vocab([text], tmp_path / "v", 120, overwrite=True)
    assert load_tokenizer(tmp_path / "v").config() != first.config()
    (tmp_path / "v" / "corpus.json").write_text("{}")
    with pytest.raises(DataError, match="holds a prepared corpus"):
        train_vocab([text], tmp_path / "v", 100, overwrite=True)
    with pytest.raises(DataError, match="is a file; name a folder"):
        train_vocab([text], text, 100)


def test_too_few_pieces_for_the_characters(text: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot make 40 pieces.*--size.*--coverage") as error:
        train_vocab([text], tmp_path / "v", 40, kind="sentencepiece", character_coverage=1.0)
    assert "INTERNAL" not in str(error.value)
    assert not (tmp_path / "v").exists()
