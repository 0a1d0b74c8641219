"""What a tokenizer is here, and how one is loaded from a file or a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError
from reader.vocab import Vocab

CONFIG_FILE = "tokenizer_config.json"


@dataclass(frozen=True)
class TokenBatch:
    """Tokens of several texts, one after the other, without special tokens.

    ids int32 [N]; flags uint8 [N], see reader.flags; offsets int64 [n_texts + 1]: text i is tokens offsets[i] to
    offsets[i+1] - 1.
    """

    ids: NDArray[np.int32]
    flags: NDArray[np.uint8]
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class SpanBatch(TokenBatch):
    """Tokens with their places: token n is made of the characters begins[n] to ends[n] - 1 of its text; int32 [N] both.

    Places never go back within a text; tokens that share a character (as the parts of a Hangul syllable) overlap.
    """

    begins: NDArray[np.int32]
    ends: NDArray[np.int32]


class Tokenizer(Protocol):
    """Text to ids with the flags of reader.flags; makes no special tokens, not even of text that looks like one."""

    vocab: Vocab

    def encode_batch(self, texts: Sequence[str]) -> TokenBatch:
        """Tokens of each text."""

    def encode_spans(self, texts: Sequence[str]) -> SpanBatch:
        """As `encode_batch`, with the place of each token in its text."""

    def encode(self, text: str) -> list[int]:
        """Ids of one text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Readable text of ids; not always the original one (capitals and spaces may be lost)."""

    def save(self, directory: str | Path) -> list[str]:
        """Writes the vocabulary file and tokenizer_config.json; returns the names of the files."""

    def config(self) -> dict[str, Any]:
        """The content of tokenizer_config.json."""


def load_tokenizer(path: str | Path, **overrides: Any) -> Tokenizer:
    """Loads a tokenizer.

    Args:
        path: a WordPiece vocabulary (`.txt`, also `.txt.gz`; one piece per line or `piece<TAB>id`), a SentencePiece
            `.model`, or a folder with tokenizer_config.json (a prepared corpus is one).
        overrides: settings of `WordPieceTokenizer` (lowercase, strip_accents, tokenize_chinese_chars) that replace
            those of the folder or the defaults.

    Raises:
        DataError: nothing usable there, a special piece is missing, or a setting is not known.
    """
    path = Path(path)
    if path.is_dir():
        return _load_folder(path, overrides)
    if not path.exists():
        raise DataError(f"{path}: no such vocabulary, SentencePiece model or tokenizer folder")
    if path.suffix == ".model":
        return _build({"type": "sentencepiece", **overrides}, path)
    return _build({"type": "wordpiece", **overrides}, path)


def _load_folder(path: Path, overrides: dict[str, Any]) -> Tokenizer:
    file = path / CONFIG_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        name = config.pop("vocab_file")
        expected = config.pop("vocab_sha256", None)
        config.pop("special_tokens", None)
    except FileNotFoundError:
        raise DataError(f"{path}: the folder holds no {CONFIG_FILE}; name the vocabulary file itself") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{file}: damaged ({error!r})") from error
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name or "\0" in name:
        raise DataError(f"{file}: damaged: `vocab_file` must be the name of a file in the same folder, not {name!r}")
    tokenizer = _build({**config, **overrides}, path / name)
    if expected is not None and tokenizer.vocab.sha256 != expected:
        raise DataError(f"{path / name}: not the vocabulary that {CONFIG_FILE} was written for (SHA-256 differs)")
    return tokenizer


def _build(config: dict[str, Any], file: Path) -> Tokenizer:
    # Imported late: a run with one kind does not load the other's library.
    from reader.sentencepiece_ import SentencePieceTokenizer
    from reader.wordpiece import WordPieceTokenizer

    kinds: dict[str, Any] = {"wordpiece": WordPieceTokenizer, "sentencepiece": SentencePieceTokenizer}
    kind = config.pop("type", None)
    if kind not in kinds:
        raise DataError(f"{file}: tokenizer type {kind!r} is not known; use one of {', '.join(kinds)}")
    config.pop("model_sha256", None)
    known = kinds[kind].SETTINGS
    for key in config:
        if key not in known:
            raise DataError(f"{file}: a {kind} tokenizer has no setting {key!r} (known: {', '.join(known) or 'none'})")
    tokenizer: Tokenizer = kinds[kind].load(file, **config)
    return tokenizer
