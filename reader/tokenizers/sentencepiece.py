"""SentencePiece through the `sentencepiece` library, with the same flags as for WordPiece tokens."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from reader import flags as F
from reader.errors import DataError
from reader.files.tensorfile import write_json_atomically
from reader.tokenizers.base import CONFIG_FILE, SpanBatch, TokenBatch
from reader.tokenizers.vocab import SPECIALS, Vocab, find_special

_SPACE = "▁"
_SURROGATE = re.compile("[\ud800-\udfff]")
# Scripts written without spaces: every piece counts as a word. Names as unicodedata gives them.
_SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_LETTERS, _WORD, _SPACELESS_KIND, _MARKS, _LONE_SPACE = range(5)


class SentencePieceTokenizer:
    """A SentencePiece model.

    Special pieces that the model lacks (usually [MASK] and [PAD]) get the ids after its own, as in XLM-R and ERNIE-M.
    A word begins at a piece with the space sign, at punctuation and after it, and at every piece of a script that is
    written without spaces.
    """

    SETTINGS: tuple[str, ...] = ()

    def __init__(self, model: bytes, source: str) -> None:
        self._model = model
        try:
            self.library: Any = sentencepiece.SentencePieceProcessor(model_proto=model)
        except (RuntimeError, OSError) as error:
            raise DataError(f"{source}: not a SentencePiece model") from error
        self._own = int(self.library.get_piece_size())
        pieces = [self.library.id_to_piece(number) for number in range(self._own)]
        ids = {piece: number for number, piece in enumerate(pieces)}
        self.added = [name for name in SPECIALS if find_special(name, ids) is None]
        self.vocab = Vocab([*pieces, *self.added], source)
        texts = ["" if self.library.is_control(i) or self.library.is_unknown(i) else p for i, p in enumerate(pieces)]
        texts += [""] * len(self.added)
        bare = [text.removeprefix(_SPACE) for text in texts]
        self._kind = np.array([_kind(text) for text in texts], dtype=np.uint8)
        self._upper = np.array([text != text.lower() for text in bare], dtype=np.bool_)
        self._capital = np.array([text[:1] != text[:1].lower() for text in bare], dtype=np.bool_)
        self._cjk = np.array([len(text) == 1 and _script(text) == "CJK" for text in bare], dtype=np.bool_)
        # The pieces of a model that folds case do not show the capitals of the text, which are read from the surface.
        self._folds_case = self.library.encode("A", out_type=str) == self.library.encode("a", out_type=str)

    @classmethod
    def load(cls, path: Path) -> SentencePieceTokenizer:
        """Reads a `.model` file; see `load_tokenizer`."""
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise DataError(f"{path}: cannot read the SentencePiece model: {error.strerror}") from error

    def encode_batch(self, texts: Sequence[str]) -> TokenBatch:
        """Tokens of each text."""
        # The library cannot take halves of surrogate pairs.
        texts = [text if text.isascii() else _SURROGATE.sub("\ufffd", text) for text in texts]
        rows = self.library.encode(texts, out_type=int, num_threads=1) if texts else []
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        ids = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(offsets[-1]))
        return TokenBatch(ids, self._flags(texts, ids, offsets), offsets)

    def encode_spans(self, texts: Sequence[str]) -> SpanBatch:
        """Tokens of each text, with the position of each token in its text, without the spaces around the token."""
        batch = self.encode_batch(texts)
        spans = [span for text in texts for span in self._spans(_SURROGATE.sub("\ufffd", text))]
        begins, ends = np.array(spans, dtype=np.int32).reshape(-1, 2).T
        return SpanBatch(batch.ids, batch.flags, batch.offsets, begins, ends)

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, without special tokens."""
        ids: list[int] = self.encode_batch([text]).ids.tolist()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text that the model decodes; added special pieces appear by name."""
        parts: list[str] = []
        run: list[int] = []
        for number in [int(i) for i in ids]:
            if number < self._own:
                run.append(number)
            else:
                parts += [self.library.decode(run), self.vocab.pieces[number]]
                run = []
        return " ".join(part for part in [*parts, self.library.decode(run)] if part)

    def config(self) -> dict[str, Any]:
        """The content of tokenizer_config.json."""
        return {
            "type": "sentencepiece",
            "vocab_file": "sentencepiece.model",
            "vocab_sha256": self.vocab.sha256,
            "model_sha256": hashlib.sha256(self._model).hexdigest(),
            "special_tokens": dict(zip(SPECIALS, self.vocab.special_ids, strict=True)),
        }

    def save(self, directory: str | Path) -> list[str]:
        """Writes sentencepiece.model and tokenizer_config.json."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "sentencepiece.model").write_bytes(self._model)
        write_json_atomically(directory / CONFIG_FILE, self.config())
        return ["sentencepiece.model", CONFIG_FILE]

    def _flags(self, texts: Sequence[str], ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
        if not len(ids):
            return np.zeros(0, np.uint8)
        kind = self._kind[ids]
        before = np.concatenate([[_LETTERS], kind[:-1]])
        start = (kind != _LETTERS) | (before == _SPACELESS_KIND) | (before == _MARKS)
        start &= before != _LONE_SPACE  # the space sign alone belongs to the piece that it stands before
        start[offsets[:-1][np.diff(offsets) > 0]] = True
        upper, capital = self._upper[ids], self._capital[ids]
        unknown = ids == self.library.unk_id()
        if self._folds_case:
            needed = [i for i, text in enumerate(texts) if text != text.lower()]
        else:
            needed = np.unique(np.searchsorted(offsets, np.flatnonzero(unknown), side="right") - 1).tolist()
        for number in needed:
            surfaces = self._surfaces(texts[number])
            row = slice(int(offsets[number]), int(offsets[number + 1]))
            upper[row] = [surface != surface.lower() for surface in surfaces]
            capital[row] = [surface[:1] != surface[:1].lower() for surface in surfaces]
        return self._assemble(ids, kind, start, upper, capital)

    def _surfaces(self, text: str) -> list[str]:
        """The surface of each token in the text before normalisation."""
        return [text[begin:end] for begin, end in self._spans(text)]

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """The positions (begin, end) of each token in the text, without the spaces around the token."""
        if hasattr(self.library, "encode_as_offset_mapping"):
            spans = self.library.encode_as_offset_mapping(text)["offsets"]
        else:  # versions before 0.2.2
            spans = [(piece.begin, piece.end) for piece in self.library.encode_as_immutable_proto(text).pieces]
        surfaces = [text[begin:end] for begin, end in spans]
        return [
            (end - len(surface.lstrip()), begin + len(surface.rstrip())) if surface.strip() else (end, end)
            for (begin, end), surface in zip(spans, surfaces, strict=True)
        ]

    def _assemble(
        self,
        ids: NDArray[np.int32],
        kind: NDArray[np.uint8],
        start: NDArray[np.bool_],
        upper: NDArray[np.bool_],
        capital: NDArray[np.bool_],
    ) -> NDArray[np.uint8]:
        word = np.cumsum(start) - 1
        first = np.flatnonzero(start)
        # The first character of "▁" + "Xyz" is that of the second piece.
        second = np.minimum(first + 1, len(ids) - 1)
        first = np.where((kind[first] == _LONE_SPACE) & ~start[second], second, first)
        flags = np.zeros(len(ids), dtype=np.uint8)
        for bits, mask in (
            (F.WORD_START, start),
            (F.UPPER, upper),
            (F.CAPITAL, capital[first][word]),
            (F.CJK, self._cjk[ids]),
        ):
            flags[mask] |= bits
        return flags


def _kind(piece: str) -> int:
    if piece == _SPACE:
        return _LONE_SPACE
    bare = piece.removeprefix(_SPACE)
    if bare and all(unicodedata.category(character)[0] in "PS" for character in bare):
        return _MARKS
    if bare and _script(bare[0]) in _SPACELESS:
        return _SPACELESS_KIND
    return _WORD if piece.startswith(_SPACE) else _LETTERS


def _script(character: str) -> str:
    return unicodedata.name(character, "").split(" ", 1)[0].split("-", 1)[0]
