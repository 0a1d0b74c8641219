"""WordPiece (BERT, section 3) through the `tokenizers` library, with a cache of words in front of it.

The cache is exact, because text is only cut where the library's own rules cut in every context: at spaces, around
Chinese characters and around some punctuation marks. All of these are starters that no normalisation step changes or
joins to a neighbour. The text between two cuts is normalised and tokenised by the library once, and then cached.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, normalizers, pre_tokenizers

from reader import flags as F
from reader.errors import DataError
from reader.files.tensorfile import write_json_atomically
from reader.tokenizers.base import CONFIG_FILE, SpanBatch, TokenBatch
from reader.tokenizers.vocab import SPECIALS, Vocab, read_vocab, write_vocab

# Most of the characters that the library surrounds with spaces; rarer blocks are left to the library itself.
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df"
_CJK_CHARACTER = re.compile(f"[{_CJK}]")
CJK_RUN = re.compile(f"[{_CJK}]+")
"""A run of Chinese characters, whose tokens have the flag CJK."""
_CJK_SPACED = r" \g<0> "
_MARKS = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + "“”‘’—–…"
_WORDS = re.compile(f"[{_MARKS}]|[^{_MARKS}]+")

_SURROGATE = re.compile("[\ud800-\udfff]")

_MAX_CHUNKS = 1 << 16
_MAX_WORDS = 1 << 16
_MAX_CHARACTERS = 1 << 23
_GROUP = 1 << 18
_ID_BITS = 24
_ID_MASK = (1 << _ID_BITS) - 1
_TOKEN_NUMBERS = 3
# A vocabulary is taken as cased if a larger share of its pieces than this holds a capital letter A-Z.
_CASED_SHARE = 0.02


class _Numbers(dict[str, int]):
    """Numbers the distinct chunks of text in the order in which they are first seen."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[str] = []

    def __missing__(self, chunk: str) -> int:
        number = len(self)
        self[chunk] = number
        self.new.append(chunk)
        return number


class WordPieceTokenizer:
    """BERT's tokenizer: token ids equal to the library's, and for each token the flags of reader.flags.

    Args:
        vocab: the vocabulary.
        lowercase: whether to lower-case the text. None: yes, unless the vocabulary is cased (it has pieces with capital
            letters).
        strip_accents: whether to remove accents. None: as `lowercase`.
        tokenize_chinese_chars: whether every Chinese character is a word.
    """

    SETTINGS = ("lowercase", "strip_accents", "tokenize_chinese_chars")

    def __init__(
        self,
        vocab: Vocab,
        *,
        lowercase: bool | None = None,
        strip_accents: bool | None = None,
        tokenize_chinese_chars: bool = True,
    ) -> None:
        if vocab.size > _ID_MASK:
            raise DataError(f"{vocab.source}: {vocab.size} pieces are more than {_ID_MASK}")
        for name in SPECIALS:
            if name not in vocab.ids:
                raise DataError(f"{vocab.source}: a WordPiece vocabulary must hold {name} under just this name")
        self.vocab = vocab
        self.lowercase = not _is_cased(vocab) if lowercase is None else lowercase
        self.strip_accents = self.lowercase if strip_accents is None else strip_accents
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.library = self._make_library()
        self._words: dict[str, bytes] = {}
        self._characters = 0
        self._forget()

    @classmethod
    def load(cls, path: Path, **settings: Any) -> WordPieceTokenizer:
        """Reads the vocabulary file; see `load_tokenizer`."""
        for key, value in settings.items():
            if not isinstance(value, bool) and value is not None:
                raise DataError(f"{path}: setting {key} must be true or false, not {value!r}")
        return cls(read_vocab(path), **settings)

    def encode_batch(self, texts: Sequence[str]) -> TokenBatch:
        """Tokens of each text; line ends inside a text count as spaces."""
        packed, offsets = _together([self._encode_group(group)[:2] for group in _groups(texts)])
        return TokenBatch(*_unpacked(packed), offsets)

    def encode_spans(self, texts: Sequence[str]) -> SpanBatch:
        """Tokens of each text, with the position of each token in its text."""
        packed, lengths, begins, ends = [], [], [], []
        for group in _groups(texts):
            tokens, token_counts, (chunks, source) = self._encode_group(group)
            starts = np.repeat(self._chunk_starts(chunks), self._lengths[chunks])
            packed.append(tokens)
            lengths.append(token_counts)
            begins.append(self._begins[source] + starts)
            ends.append(self._ends[source] + starts)
        together, offsets = _together(list(zip(packed, lengths, strict=True)))
        empty = np.zeros(0, np.int32)
        return SpanBatch(
            *_unpacked(together),
            offsets,
            np.concatenate([empty, *begins]).astype(np.int32),
            np.concatenate([empty, *ends]).astype(np.int32),
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, without special tokens."""
        ids: list[int] = self.encode_batch([text]).ids.tolist()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, whose pieces the library joins to words."""
        return str(self.library.decode([int(i) for i in ids], skip_special_tokens=False))

    def config(self) -> dict[str, Any]:
        """The content of tokenizer_config.json."""
        return {
            "type": "wordpiece",
            "vocab_file": "vocab.txt",
            "vocab_sha256": self.vocab.sha256,
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "tokenize_chinese_chars": self.tokenize_chinese_chars,
            "special_tokens": {name: self.vocab.id(name) for name in SPECIALS},
        }

    def save(self, directory: str | Path) -> list[str]:
        """Writes vocab.txt and tokenizer_config.json."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_vocab(directory / "vocab.txt", self.vocab.pieces)
        write_json_atomically(directory / CONFIG_FILE, self.config())
        return ["vocab.txt", CONFIG_FILE]

    def _make_library(self) -> tokenizers.Tokenizer:
        # No added special tokens: "[MASK]" in a text is text.
        library = tokenizers.Tokenizer(
            models.WordPiece(self.vocab.ids, unk_token="[UNK]", max_input_chars_per_word=100)
        )
        library.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.tokenize_chinese_chars,
            strip_accents=self.strip_accents,
            lowercase=self.lowercase,
        )
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        library.decoder = decoders.WordPiece(prefix="##", cleanup=True)
        return library

    def _forget(self) -> None:
        """Empties the table of chunks; their words are kept longer, so that the table fills quickly again."""
        if len(self._words) > _MAX_WORDS or self._characters > _MAX_CHARACTERS:
            self._words = {}
        self._numbers = _Numbers()
        self._characters = 0
        self._packed: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._begins: NDArray[np.int64] = np.zeros(0, np.int64)
        self._ends: NDArray[np.int64] = np.zeros(0, np.int64)
        self._starts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._lengths: NDArray[np.int64] = np.zeros(0, np.int64)
        self._widths: NDArray[np.int64] = np.zeros(0, np.int64)
        self._cjk: NDArray[np.bool_] = np.zeros(0, np.bool_)
        # Number 0 stands between two texts.
        self._numbers["\n"]
        self._learn()

    def _encode_group(
        self, texts: list[str]
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64], tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """(id | flags << 24) of all tokens, the number of tokens of each text, and the origin of tokens: the numbers
        of the chunks in order, and the position of each token in the table.
        """
        if len(self._numbers) > _MAX_CHUNKS or self._characters > _MAX_CHARACTERS:
            self._forget()
        joined = " \n ".join(texts)
        if joined.count("\n") != len(texts) - 1:
            joined = " \n ".join([text.replace("\n", " ") for text in texts])
        if self.tokenize_chinese_chars and not joined.isascii():
            joined = _CJK_CHARACTER.sub(_CJK_SPACED, joined)
        chunks = joined.split(" ")
        numbers = np.fromiter(map(self._numbers.__getitem__, chunks), dtype=np.int64, count=len(chunks))
        if self._numbers.new:
            self._learn()
        lengths = self._lengths[numbers]
        ends = np.cumsum(lengths)
        total = int(ends[-1])
        source = np.repeat(self._starts[numbers] - (ends - lengths), lengths)
        source += np.arange(total)
        bounds = np.concatenate([[0], ends[numbers == 0], [total]])
        return self._packed[source], np.diff(bounds), (numbers, source)

    def _chunk_starts(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The position, in characters, at which each chunk of a group begins in its own text."""
        widths = self._widths[numbers]
        # A Chinese character got a space on either side; every other chunk is followed by one, except the text's last.
        spaced = self._cjk[numbers] if self.tokenize_chinese_chars else np.zeros(len(numbers), np.bool_)
        before = np.cumsum(widths + 1) - (widths + 1)
        added = 2 * (np.cumsum(spaced) - spaced) + spaced
        places: NDArray[np.int64] = before - added
        # Between texts stand a space, a line end and a space.
        between = numbers == 0
        places -= np.concatenate([[0], places[between] + 2])[np.cumsum(between)]
        return places

    def _learn(self) -> None:
        """Appends the tokens of the new chunks to the table."""
        new, self._numbers.new = self._numbers.new, []
        cut = [_WORDS.findall(chunk) for chunk in new]
        words = self._words
        unknown = list({word: None for chunk in cut for word in chunk if word not in words})
        # The library cannot take halves of surrogate pairs; like U+FFFD they are not text and give no token.
        sound = [_SURROGATE.sub("\ufffd", word) for word in unknown]
        for word, encoding in zip(unknown, self.library.encode_batch(sound, add_special_tokens=False), strict=True):
            words[word] = _pack(word, encoding)
        flat = [word for chunk in cut for word in chunk]
        tokens = [words[word] for word in flat]
        table = np.frombuffer(b"".join(tokens), dtype=np.uint32).reshape(-1, _TOKEN_NUMBERS)
        # Tokens and characters of each word, and words of each chunk, give the position of each word in its chunk.
        counts = np.fromiter(map(len, tokens), np.int64, len(tokens)) // (4 * _TOKEN_NUMBERS)
        sizes = np.fromiter(map(len, flat), np.int64, len(flat))
        bounds = np.concatenate([[0], np.cumsum(np.fromiter(map(len, cut), np.int64, len(cut)))])
        ends, characters = (np.concatenate([[0], np.cumsum(values)]) for values in (counts, sizes))
        widths = np.diff(characters[bounds])
        places = np.repeat(characters[:-1] - np.repeat(characters[bounds[:-1]], np.diff(bounds)), counts)
        lengths = np.diff(ends[bounds])
        self._starts = np.concatenate([self._starts, np.cumsum(lengths) - lengths + len(self._packed)])
        self._lengths = np.concatenate([self._lengths, lengths])
        self._widths = np.concatenate([self._widths, widths])
        self._packed = np.concatenate([self._packed, table[:, 0]])
        self._begins = np.concatenate([self._begins, table[:, 1] + places])
        self._ends = np.concatenate([self._ends, table[:, 2] + places])
        self._cjk = np.concatenate([self._cjk, [bool(_CJK_CHARACTER.fullmatch(chunk)) for chunk in new]])
        self._characters += int(widths.sum())


def single_threaded() -> None:
    """Keeps the library from starting threads of its own, so that one worker process uses one core."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _is_cased(vocab: Vocab) -> bool:
    capital = re.compile("[A-Z]")
    cased = sum(1 for piece in vocab.pieces if capital.search(piece) and not piece.startswith("["))
    return cased > _CASED_SHARE * vocab.size


def _pack(text: str, encoding: tokenizers.Encoding) -> bytes:
    """Three 32-bit numbers for each token: id | flags << 24, and the positions in the word where it begins and ends.

    The flags for capitals are those of the original text.
    """
    packed = array("I")
    previous: int | None = None
    capital = 0
    for token, (begin, end), word in zip(encoding.ids, encoding.offsets, encoding.word_ids, strict=True):
        surface = text[begin:end]
        bits = F.UPPER if surface != surface.lower() else 0
        if word != previous:
            previous = word
            capital = F.CAPITAL if surface[:1] != surface[:1].lower() else 0
            bits |= F.WORD_START
            if len(surface) == 1 and _CJK_CHARACTER.match(surface):
                bits |= F.CJK
        packed.extend((token | (bits | capital) << _ID_BITS, begin, end))
    return packed.tobytes()


def _together(
    groups: Sequence[tuple[NDArray[np.uint32], NDArray[np.int64]]],
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """(tokens, number of tokens of each text) of each group -> tokens of all texts, and the offsets of the texts."""
    if not groups:
        return np.zeros(0, np.uint32), np.zeros(1, np.int64)
    lengths = np.concatenate([length for _, length in groups])
    return np.concatenate([part for part, _ in groups]), np.concatenate([[0], np.cumsum(lengths)])


def _unpacked(packed: NDArray[np.uint32]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    ids = (packed & np.uint32(_ID_MASK)).astype(np.int32)
    return ids, (packed >> np.uint32(_ID_BITS)).astype(np.uint8)


def _groups(texts: Sequence[str]) -> list[list[str]]:
    """Runs of texts of about `_GROUP` characters: small enough for the processor's cache."""
    groups: list[list[str]] = []
    room = 0
    for text in texts:
        if room <= 0:
            groups.append([])
            room = _GROUP
        groups[-1].append(text)
        room -= len(text)
    return groups
