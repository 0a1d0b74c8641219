"""vocab, prepare and inspect through the command line: what is printed is what is there."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.cli.inspect import mark_units
from ernie_paddle.cli.main import main
from reader import flags as F
from reader.corpora.corpus import Corpus
from reader.tokenizers.load import load_tokenizer

SENTENCES = [
    "The old mill stood by the river near Great Malvern.",
    "Nobody in Great Malvern had seen the miller for years.",
    "The river ran slowly, and the mill wheel was still.",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 40 documents in two files, one of them with lines that cannot be used."""
    folder = tmp_path_factory.mktemp("text")
    good = "\n\n".join("\n".join(SENTENCES) for _ in range(20)) + "\n"
    (folder / "a.txt").write_text(good)
    (folder / "b.txt.gz").write_bytes(gzip.compress(good.encode() + b"caf\xe9 without an encoding\n"))
    assert main(["vocab", f"{folder}/*.txt*", "--output", f"{folder}/vocab", "--size", "120"]) == 0
    arguments = ["prepare", f"{folder}/*.txt*", "--vocab", f"{folder}/vocab", "--output", f"{folder}/corpus"]
    assert main([*arguments, "--segmenters", "capitals", "--heldout", "0.1", "--workers", "0"]) == 0
    return folder / "corpus"


def test_vocab_prints_its_size(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = corpus.parent / "a.txt"
    for kind, size in (("wordpiece", 80), ("sentencepiece", 60)):
        assert main(["vocab", str(text), "--output", str(tmp_path / kind), "--size", str(size), "--type", kind]) == 0
        tokenizer = load_tokenizer(tmp_path / kind)
        assert f"{tokenizer.vocab.size:,} pieces ({kind})" in capsys.readouterr().out
        assert tokenizer.vocab.size <= size
    assert main(["vocab", str(text), "--output", str(tmp_path / "cased"), "--size", "90", "--no-lowercase"]) == 0
    assert any(piece.startswith("G") for piece in load_tokenizer(tmp_path / "cased").vocab.pieces)


def test_vocab_says_what_it_left_out_and_which_option_is_wrong(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["vocab", f"{corpus.parent}/b.txt.gz", "--output", str(tmp_path / "v")]
    assert main([*arguments, "--size", "80"]) == 0
    assert "  skipped: 1:\n    1 × line with undecodable bytes" in capsys.readouterr().out
    for option in ("--size", "--limit"):
        with pytest.raises(SystemExit) as stop:
            main([*arguments, option, "3"])
        assert stop.value.code == 2
        assert f"argument {option}: '3' is not a whole number of at least" in capsys.readouterr().err


def test_coverage_takes_what_its_help_says(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["vocab", "--help"])
    assert "0.9 to 1 for wordpiece, 0.98 to 1 for sentencepiece" in " ".join(capsys.readouterr().out.split())
    arguments = ["vocab", str(corpus.parent / "a.txt"), "--output", str(tmp_path / "v"), "--size", "60", "--overwrite"]
    for kind, wrong, right in (("wordpiece", "0.89", "0.9"), ("sentencepiece", "0.97", "0.98")):
        try:
            code = main([*arguments, "--type", kind, "--coverage", wrong])
        except SystemExit as stop:
            code = stop.code
        assert code == 2
        for value in (right, "1"):
            assert main([*arguments, "--type", kind, "--coverage", value]) == 0


def test_text_without_blank_lines_is_said_to_be_one_document(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    assert "a blank line separates documents" in " ".join(capsys.readouterr().out.split())
    text = tmp_path / "t.txt"
    text.write_text((" ".join(SENTENCES) + "\n") * 100)
    arguments = ["prepare", str(text), "--vocab", f"{corpus.parent}/vocab", "--workers", "0"]
    assert main([*arguments, "--output", f"{tmp_path}/c"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"train +1 documents +300 sentences", printed)
    assert "heldout " not in printed
    assert "  note: nothing is held out" in printed
    assert f"  note: this file is one single document, as a blank line separates documents: {text} (300" in printed
    text.write_text("\n\n".join([" ".join(SENTENCES)] * 5))
    assert main([*arguments, "--output", f"{tmp_path}/d"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"train +4 documents(.|\n)*heldout +1 documents", printed)
    assert "note:" not in printed


def test_prepare_reports_what_was_skipped(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prepare", f"{corpus.parent}/*.txt*", "--vocab", f"{corpus.parent}/vocab", "--output", str(corpus)]
    assert main([*arguments, "--segmenters", "capitals", "--heldout", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert "already exists" in printed
    assert re.search(r"1 × line with undecodable bytes .*b\.txt\.gz:80", printed)
    assert main([*arguments, "--heldout", "0.1"]) == 2
    assert capsys.readouterr().err.startswith("ernie prepare: ")
    train, heldout = Corpus.open(corpus), Corpus.open(corpus, "heldout")
    assert train.n_documents + heldout.n_documents == 40
    assert f"{train.n_tokens:,} tokens" in printed


def test_prepare_says_how_many_documents_are_too_small(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "t.txt"
    text.write_text("\n\n".join(["\n".join(SENTENCES * 4), "Too short.", "\n".join(SENTENCES[:2])]))
    words = ["prepare", str(text), "--vocab", f"{corpus.parent}/vocab", "--output", str(tmp_path / "c")]
    limits = ["--document_tokens", "100", "--min_words", "10", "--min_sentences", "3"]
    assert main([*words, *limits, "--heldout", "0", "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"1 × document of fewer than 10 words .*t\.txt:14", printed)
    assert re.search(r"1 × document of fewer than 3 sentences .*t\.txt:16", printed)
    assert 1 < Corpus.open(tmp_path / "c").n_documents < 12


def test_inspect_shows_the_corpus(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(corpus), "--samples", "2"]) == 0
    printed = capsys.readouterr().out
    train = Corpus.open(corpus)
    assert (
        f"train: {train.n_documents:,} documents, {train.n_sentences:,} sentences, {train.n_tokens:,} tokens" in printed
    )
    unknown = load_tokenizer(corpus).vocab.unk
    share = np.mean(np.concatenate([shard.tokens for shard in train.shards]) == unknown)
    assert f"[UNK] {share:.3%}" in printed
    assert "skipped in preparation: 1" in printed
    samples = printed.splitlines()[-2:]
    assert samples[0].replace("##", "").replace(" ", "").lower().startswith("theoldmill")
    assert "[" in samples[0]


def test_inspect_shows_a_vocabulary(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(corpus.parent / "vocab")]) == 0
    printed = capsys.readouterr().out
    vocab = load_tokenizer(corpus.parent / "vocab").vocab
    assert f"{vocab.size:,} pieces, SHA-256 {vocab.sha256[:12]}" in printed
    assert f"[MASK] {vocab.mask}" in printed


def test_units_are_marked_where_they_are(corpus: Path) -> None:
    tokenizer = load_tokenizer(corpus)
    ids = [tokenizer.vocab.id(piece) for piece in ("t", "##e", "m", "o", "r", "s")]
    W, P, E = F.WORD_START, F.IN_PHRASE, F.IN_ENTITY
    flags = np.array([W | P, P, W | P | F.PHRASE_CONT, W | P, W | P | F.PHRASE_CONT | E, W | E], np.uint8)
    assert mark_units(np.array(ids), flags, tokenizer) == "(t ##e m) (o [r)] [s]"


def test_a_corpus_that_is_not_finished_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus.json").write_text(json.dumps({"format_version": 0}))
    assert main(["inspect", str(tmp_path)]) == 2
    assert "format version 0" in capsys.readouterr().err


def test_inspect_says_what_a_wrong_path_is(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished, empty, text, binary = (tmp_path / name for name in ("u", "e", "a.txt", "b.bin"))
    (unfinished / ".partial").mkdir(parents=True)
    empty.mkdir()
    text.write_text("no vocabulary\n")
    binary.write_bytes(b"\xff\x00\x80")
    nothing = "not a corpus, checkpoint, exported model or vocabulary"
    for path, message in [
        (unfinished, "the corpus is unfinished; run the same `ernie prepare` command again to resume"),
        (corpus / "train-00000.safetensors", f"is one of several files; inspect its folder: {corpus}"),
        (empty, nothing),
        (text, nothing),
        (binary, nothing),
    ]:
        assert main(["inspect", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"ernie inspect: {path}: {message}")
        assert captured.err.count("\n") == 1
        assert captured.out == ""
