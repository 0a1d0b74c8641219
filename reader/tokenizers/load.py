"""Loading a tokenizer from a file or a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reader.errors import DataError
from reader.tokenizers.base import CONFIG_FILE, Tokenizer


def load_tokenizer(path: str | Path, **overrides: Any) -> Tokenizer:
    """Loads a tokenizer.

    Args:
        path: a WordPiece vocabulary (`.txt`, also `.txt.gz`; one piece per line or `piece<TAB>id`), a SentencePiece
            `.model`, or a folder with tokenizer_config.json (a prepared corpus is one).
        overrides: settings of `WordPieceTokenizer` (lowercase, strip_accents, tokenize_chinese_chars) that replace
            those of the folder or the defaults.

    Raises:
        DataError: `path` holds no usable tokenizer, a special piece is missing, or a setting is not known.
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
    # Imported late, so that a run with one kind of tokenizer does not load the library of the other.
    from reader.tokenizers.sentencepiece import SentencePieceTokenizer
    from reader.tokenizers.wordpiece import WordPieceTokenizer

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
