"""Vocabulary files of both kinds, and the mistakes in them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from reader.errors import DataError
from reader.tokenizers.vocab import SPECIALS, read_vocab, write_vocab

PIECES = [*SPECIALS, "the", "##s", "　"]


def test_formats_agree(tmp_path: Path) -> None:
    plain, tabbed, zipped = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt.gz"
    write_vocab(plain, PIECES)
    shuffled = [(piece, number) for number, piece in enumerate(PIECES)][::-1]
    tabbed.write_text("".join(f"{piece}\t{number}\r\n" for piece, number in shuffled), encoding="utf-8-sig")
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    vocabs = [read_vocab(path) for path in (plain, tabbed, zipped)]
    for vocab in vocabs:
        assert vocab.pieces == PIECES
        assert vocab.special_ids == (0, 1, 2, 3, 4)
        assert vocab.id("##s") == 6
    assert len({vocab.sha256 for vocab in vocabs}) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        ("\n".join(p for p in PIECES if p != "[MASK]").encode(), r"no \[MASK\]"),
        (b"[PAD]\n\xff\xfe", "not UTF-8"),
        (b"[PAD]\t0\n[UNK]\t2\n", "id 1 is missing"),
        (b"[PAD]\t0\n[UNK]\t0\n", "v.txt:2: id 0 occurs twice"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_vocab(path)
    assert "v.txt" in str(caught.value)


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.txt.gz"
    whole = gzip.compress("".join(piece + "\n" for piece in PIECES).encode())
    header = whole[:10]
    for damaged in (whole[:-9], header + b"\xff" * 20, b"no gzip", whole[:-8] + b"\0" * 8):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"v\.txt\.gz: cannot read the vocabulary"):
            read_vocab(path)


def test_missing_file_and_missing_piece(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such vocabulary"):
        read_vocab(tmp_path / "none.txt")
    write_vocab(tmp_path / "v.txt", PIECES)
    with pytest.raises(DataError, match="'dog'"):
        read_vocab(tmp_path / "v.txt").id("dog")
    with pytest.raises(DataError, match="line end"):
        write_vocab(tmp_path / "w.txt", ["a\nb"])
