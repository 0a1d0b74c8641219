"""Vocabularies: the list of pieces, and the special ones that every model needs."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

from reader.errors import DataError

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The special pieces, in the order in which trained vocabularies hold them, so that the id of [PAD] is 0."""

# SentencePiece models use other names for the special pieces.
_ALIASES = {
    "[PAD]": ("[PAD]", "<pad>"),
    "[UNK]": ("[UNK]", "<unk>"),
    "[CLS]": ("[CLS]", "<s>"),
    "[SEP]": ("[SEP]", "</s>"),
    "[MASK]": ("[MASK]", "<mask>"),
}


def find_special(name: str, ids: dict[str, int]) -> int | None:
    """The id of a special piece, under its own name or that of other projects; None if there is no such piece."""
    for alias in _ALIASES[name]:
        if alias in ids:
            return ids[alias]
    return None


class Vocab:
    """Pieces by id and ids by piece.

    Args:
        pieces: the piece of each id. The id of a repeated piece is the last one, as in the `tokenizers` library.
        source: name of the vocabulary in messages, usually its file.

    Raises:
        DataError: a special piece is missing.
    """

    def __init__(self, pieces: Sequence[str], source: str) -> None:
        self.pieces: list[str] = list(pieces)
        self.source = source
        self.ids: dict[str, int] = {piece: number for number, piece in enumerate(self.pieces)}
        special = {name: find_special(name, self.ids) for name in SPECIALS}
        missing = [name for name, number in special.items() if number is None]
        if missing:
            raise DataError(
                f"{source}: the vocabulary has no {', '.join(missing)} ({len(self.pieces)} pieces); "
                "add a line for each, or use another vocabulary"
            )
        self.pad, self.unk, self.cls, self.sep, self.mask = (int(special[name] or 0) for name in SPECIALS)

    @property
    def size(self) -> int:
        """Number of pieces, which is the number of ids."""
        return len(self.pieces)

    @property
    def special_ids(self) -> tuple[int, int, int, int, int]:
        """Ids of `SPECIALS`, in that order."""
        return self.pad, self.unk, self.cls, self.sep, self.mask

    @property
    def sha256(self) -> str:
        """Hash of the pieces in the order of their ids; it does not depend on the format of the file."""
        return hashlib.sha256("\n".join(self.pieces).encode("utf-8", "surrogatepass")).hexdigest()

    def id(self, piece: str) -> int:
        """The id of a piece.

        Raises:
            DataError: the vocabulary does not hold the piece.
        """
        try:
            return self.ids[piece]
        except KeyError:
            raise DataError(f"{self.source}: the vocabulary has no piece {piece!r}") from None


def read_vocab(path: str | Path) -> Vocab:
    """Reads a text vocabulary: one piece per line (BERT), or `piece<TAB>id` per line (ERNIE), plain or `.gz`.

    Raises:
        DataError: the file is missing, not UTF-8, empty, has a hole in its ids, or lacks a special piece.
    """
    path = Path(path)
    pieces = _parse(_read_text(path), path)
    return Vocab(pieces, str(path))


def write_vocab(path: str | Path, pieces: Sequence[str]) -> None:
    """Writes a text vocabulary, one piece per line.

    Raises:
        DataError: a piece holds a line end, which this format cannot express.
    """
    for number, piece in enumerate(pieces):
        if "\n" in piece or "\r" in piece:
            raise DataError(f"{path}: piece {number} holds a line end and cannot be written to a text vocabulary")
    Path(path).write_text("".join(piece + "\n" for piece in pieces), encoding="utf-8", newline="\n")


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
        return raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such vocabulary file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot read the vocabulary: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the vocabulary is not UTF-8 (byte {error.start})") from error


def _parse(text: str, path: Path) -> list[str]:
    lines = [line[:-1] if line.endswith("\r") else line for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"{path}: the vocabulary is empty")
    if not all(_has_id(line) for line in lines):
        return lines
    by_id: dict[int, str] = {}
    for number, line in enumerate(lines, start=1):
        piece, _, identity = line.rpartition("\t")
        if int(identity) in by_id:
            raise DataError(f"{path}:{number}: id {identity} occurs twice in the vocabulary")
        by_id[int(identity)] = piece
    if sorted(by_id) != list(range(len(by_id))):
        missing = next(i for i in range(len(by_id) + 1) if i not in by_id)
        raise DataError(f"{path}: the vocabulary's ids are not 0 to {len(by_id) - 1}; id {missing} is missing")
    return [by_id[i] for i in range(len(by_id))]


def _has_id(line: str) -> bool:
    _, tab, identity = line.rpartition("\t")
    return bool(tab) and identity.isascii() and identity.isdigit()
