"""The vocabulary of released weights: finding, checking against the embedding, and writing for other projects."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ernie_paddle.checkpoints.weights import Weights
from propeller.errors import UserError
from propeller.run.checkpoint import write_json
from reader.tokenizers.base import CONFIG_FILE, Tokenizer
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.vocab import write_vocab

VOCAB = "vocab.txt"
_SETTINGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "tokenize_chinese_chars",
}


def find_tokenizer(folders: tuple[Path, ...], given: Path | None) -> Tokenizer | None:
    """The tokenizer that the user gave, or that of the first folder that holds a vocabulary; None without any.

    `vocab.txt` is read with the settings of the other projects' `tokenizer_config.json` (`do_lower_case`).

    Raises:
        DataError: The vocabulary is unusable.
    """
    if given is not None:
        return load_tokenizer(given)
    for folder in folders:
        config = _read_config(folder / CONFIG_FILE)
        if "type" in config and "vocab_file" in config:
            return load_tokenizer(folder)
        if (folder / VOCAB).is_file():
            settings = {ours: config[key] for key, ours in _SETTINGS.items() if isinstance(config.get(key), bool)}
            return load_tokenizer(folder / VOCAB, **settings)
        models = sorted(folder.glob("*.model"))
        if len(models) == 1:
            return load_tokenizer(models[0])
    return None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error})") from None
    return values if isinstance(values, dict) else {}


def with_tokenizer(weights: Weights, folders: tuple[Path, ...], given: Path | None) -> Weights:
    """Add the vocabulary that belongs to the weights.

    Raises:
        UserError: There are more pieces than rows of the embedding.
        DataError: The vocabulary is unusable.
    """
    if weights.config.family == "ernie_m" and given is None:
        return weights.noting("the vocabulary of ERNIE-M is not read: its ids are not those of its SentencePiece model")
    tokenizer = find_tokenizer(folders, given)
    if tokenizer is None:
        return weights.noting("no vocabulary next to the weights")
    config, vocab = weights.config, tokenizer.vocab
    if vocab.size > config.vocab_size:
        raise UserError(
            f"{vocab.source}: the vocabulary has {vocab.size:,} pieces, but the word embedding of {weights.path} only "
            f"{config.vocab_size:,} rows; use the vocabulary that belongs to these weights"
        )
    notes = []
    if vocab.size < config.vocab_size:
        notes.append(f"{config.vocab_size - vocab.size:,} rows of the word embedding have no piece")
    if vocab.pad != config.pad_token_id:
        notes.append(f"pad_token_id was {config.pad_token_id}; the vocabulary's [PAD] is {vocab.pad}")
        config = dataclasses.replace(config, pad_token_id=vocab.pad)
    return dataclasses.replace(weights, tokenizer=tokenizer, config=config).noting(*notes)


def write_vocabulary(folder: Path, tokenizer: Tokenizer) -> None:
    """Write `vocab.txt` and other projects' settings; a SentencePiece model is copied with our settings."""
    config = tokenizer.config()
    if config["type"] != "wordpiece":
        tokenizer.save(folder)
        return
    write_vocab(folder / VOCAB, tokenizer.vocab.pieces)
    settings = {theirs: config[ours] for theirs, ours in _SETTINGS.items()}
    write_json(folder / CONFIG_FILE, {"tokenizer_class": "BertTokenizer", **settings})
