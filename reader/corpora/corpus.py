"""Prepared corpora on disk: immutable, memory-mapped shards and the corpus.json that makes them a corpus.

A corpus is a folder with tokenizer files, shards `<split>-00000.safetensors` and `corpus.json`, which is written
last: without it the folder is not a finished corpus. Arrays of a shard with N tokens, S sentences, D documents:

    sentence_offsets   int64 [S+1]   sentence s is tokens[sentence_offsets[s] : sentence_offsets[s+1]]
    document_offsets   int64 [D+1]   document d is sentences document_offsets[d] … document_offsets[d+1]-1
    tokens             uint16 [N] if the vocabulary has at most 65,536 pieces, else int32; no [CLS] or [SEP]
    document_language  int16 [D]     number in corpus.json's list of languages, -1 if unknown
    flags              uint8 [N]     see reader.flags
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError
from reader.files.tensorfile import map_arrays, write_arrays, write_json_atomically
from reader.report import SkipReport

FORMAT_VERSION = 1
CORPUS_FILE = "corpus.json"
DOCUMENTS = "documents"
PAIRS = "pairs"


@dataclass(frozen=True)
class Shard:
    """The arrays of one shard, memory-mapped or in memory; see the table at the top of the module."""

    tokens: NDArray[np.uint16] | NDArray[np.int32]
    flags: NDArray[np.uint8]
    sentence_offsets: NDArray[np.int64]
    document_offsets: NDArray[np.int64]
    document_language: NDArray[np.int16]

    @property
    def n_documents(self) -> int:
        """Number of documents, D."""
        return len(self.document_offsets) - 1

    @property
    def n_sentences(self) -> int:
        """Number of sentences, S."""
        return len(self.sentence_offsets) - 1

    @property
    def n_tokens(self) -> int:
        """Number of tokens, N."""
        return len(self.tokens)


def token_dtype(vocab_size: int) -> str:
    """Name of the dtype of the token ids in shards."""
    return "uint16" if vocab_size <= 1 << 16 else "int32"


def shard_layout(dtype: str, n_tokens: int, n_sentences: int, n_documents: int) -> dict[str, tuple[str, int]]:
    """Names, types and lengths of a shard's arrays, in the order of the file (wide types first)."""
    return {
        "sentence_offsets": ("int64", n_sentences + 1),
        "document_offsets": ("int64", n_documents + 1),
        "tokens": (dtype, n_tokens),
        "document_language": ("int16", n_documents),
        "flags": ("uint8", n_tokens),
    }


def shard_name(split: str, number: int) -> str:
    """File name of a shard."""
    return f"{split}-{number:05d}.safetensors"


def shard_metadata(split: str, vocab_sha256: str, vocab_size: int) -> dict[str, str]:
    """Metadata in the header of a shard's file."""
    return {
        "format": "ernie-paddle corpus shard",
        "format_version": str(FORMAT_VERSION),
        "split": split,
        "vocab_sha256": vocab_sha256,
        "vocab_size": str(vocab_size),
    }


class Corpus:
    """One split of a prepared corpus, opened for reading. It pickles as its path, so that each worker maps it anew."""

    def __init__(self, path: Path, split: str, info: dict[str, Any], shards: list[Shard]) -> None:
        self.path = path
        self.split = split
        self.info = info
        self.shards = shards

    @classmethod
    def open(cls, path: str | Path, split: str = "train") -> Corpus:
        """Opens a corpus folder that `ernie prepare` finished.

        Raises:
            DataError: the folder holds no finished corpus of documents, the corpus has another format version or lacks
                the split, or a shard is damaged.
        """
        path = Path(path)
        info = read_corpus_info(path)
        if kind_of(info) != DOCUMENTS:
            raise DataError(
                f"{path} holds {'labelled pairs' if kind_of(info) == PAIRS else kind_of(info)}, where documents are "
                "needed; make them with `ernie prepare`"
            )
        check_split(path, info, split)
        shards = [_open_shard(path / name, info) for name in info["splits"][split]["shards"]]
        corpus = cls(path, split, info, shards)
        for key, found in (("n_documents", corpus.n_documents), ("n_tokens", corpus.n_tokens)):
            if found != info["splits"][split][key]:
                raise DataError(f"{path}: {CORPUS_FILE} says {key} = {info['splits'][split][key]}, shards hold {found}")
        return corpus

    def __reduce__(self) -> tuple[Any, ...]:
        return Corpus.open, (self.path, self.split)

    @property
    def n_documents(self) -> int:
        """Number of documents in this split."""
        return sum(shard.n_documents for shard in self.shards)

    @property
    def n_sentences(self) -> int:
        """Number of sentences in this split."""
        return sum(shard.n_sentences for shard in self.shards)

    @property
    def n_tokens(self) -> int:
        """Number of tokens in this split."""
        return sum(shard.n_tokens for shard in self.shards)

    @property
    def vocab_sha256(self) -> str:
        """Hash of the vocabulary of the token ids (reader.tokenizers.vocab.Vocab.sha256)."""
        return str(self.info["vocab_sha256"])

    @property
    def vocab_size(self) -> int:
        """Number of pieces in the vocabulary of the token ids."""
        return int(self.info["vocab_size"])

    @property
    def languages(self) -> list[str]:
        """Names of the languages; `document_language` holds indices into this list."""
        return list(self.info["languages"])

    @property
    def skipped(self) -> SkipReport:
        """The report of what preparation skipped."""
        return SkipReport.from_dict(self.info.get("skipped", {}))


def read_corpus_info(path: str | Path) -> dict[str, Any]:
    """The content of corpus.json.

    Raises:
        DataError: corpus.json is missing (the corpus is not finished), damaged, or of another format version.
    """
    path = Path(path)
    file = path / CORPUS_FILE
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        what = "is not a finished corpus" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what} (no {CORPUS_FILE}): make it with `ernie prepare`") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: damaged ({error}); run `ernie prepare` again") from error
    if not isinstance(info, dict) or info.get("format_version") != FORMAT_VERSION:
        version = info.get("format_version") if isinstance(info, dict) else None
        raise DataError(f"{file}: format version {version}, this program reads {FORMAT_VERSION}; prepare it again")
    _check_info(info, file)
    return info


def kind_of(info: Mapping[str, Any]) -> str:
    """The kind of a corpus, from its corpus.json: DOCUMENTS, or PAIRS (see reader.corpora.pairs)."""
    return str(info.get("kind", DOCUMENTS))


def check_split(path: Path, info: Mapping[str, Any], split: str) -> None:
    """Raises DataError unless the corpus has the split."""
    if split not in info["splits"]:
        raise DataError(f"{path}: the corpus has no split {split!r}, only {', '.join(info['splits'])}")


_NEEDED = {"vocab_sha256": str, "vocab_size": int, "splits": dict, "languages": list, "segmenters": list}
_NEEDED_OF_SPLIT = {"shards": list, "n_documents": int, "n_sentences": int, "n_tokens": int}


def _check_info(info: dict[str, Any], file: Path) -> None:
    """Checks that corpus.json holds every entry that readers use."""
    entries: list[tuple[str, Any, dict[str, type]]] = [("", info, _NEEDED)]
    if isinstance(info.get("splits"), dict):
        entries += [(f"splits.{name}.", split, _NEEDED_OF_SPLIT) for name, split in info["splits"].items()]
    for prefix, entry, needed in entries:
        for key, kind in needed.items():
            if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
                what = f"{prefix}{key} is missing or not of type {kind.__name__}"
                raise DataError(f"{file}: damaged: {what}; run `ernie prepare` again")


def write_corpus_info(
    path: Path,
    *,
    vocab_sha256: str,
    vocab_size: int,
    splits: Mapping[str, Mapping[str, Any]],
    languages: Sequence[str] = (),
    segmenters: Sequence[str] = (),
    skipped: SkipReport | None = None,
    **more: Any,
) -> None:
    """Writes corpus.json, which makes the folder a finished corpus; all shards must be in place before."""
    info = {
        "format_version": FORMAT_VERSION,
        "vocab_sha256": vocab_sha256,
        "vocab_size": vocab_size,
        "dtype": token_dtype(vocab_size),
        "splits": {name: dict(split) for name, split in splits.items()},
        "languages": list(languages),
        "segmenters": list(segmenters),
        "skipped": (skipped or SkipReport()).to_dict(),
        **more,
    }
    write_json_atomically(path / CORPUS_FILE, info)


def write_corpus(
    path: str | Path,
    splits: Mapping[str, Sequence[Shard]],
    *,
    vocab_sha256: str,
    vocab_size: int,
    languages: Sequence[str] = (),
    segmenters: Sequence[str] = (),
) -> None:
    """Writes a corpus whose shards are in memory, without tokenizer files; `prepare` is for large corpora."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    described: dict[str, dict[str, Any]] = {}
    for split, shards in splits.items():
        names = []
        for number, shard in enumerate(shards):
            layout = shard_layout(token_dtype(vocab_size), shard.n_tokens, shard.n_sentences, shard.n_documents)
            arrays = {name: np.asarray(getattr(shard, name), dtype=dtype) for name, (dtype, _) in layout.items()}
            names.append(shard_name(split, number))
            write_arrays(path / names[-1], arrays, shard_metadata(split, vocab_sha256, vocab_size))
        described[split] = {
            "shards": names,
            "n_documents": sum(shard.n_documents for shard in shards),
            "n_sentences": sum(shard.n_sentences for shard in shards),
            "n_tokens": sum(shard.n_tokens for shard in shards),
        }
    write_corpus_info(
        path,
        vocab_sha256=vocab_sha256,
        vocab_size=vocab_size,
        splits=described,
        languages=languages,
        segmenters=segmenters,
    )


def map_shard(path: Path, info: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The arrays of a shard, memory-mapped.

    Raises:
        DataError: the file is missing or damaged, or belongs to another corpus.json.
    """
    arrays, metadata = map_arrays(path)
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise DataError(f"{path}: shard format version {metadata.get('format_version')}; prepare the corpus again")
    if metadata.get("vocab_sha256") != info["vocab_sha256"]:
        raise DataError(f"{path}: made with another vocabulary than {CORPUS_FILE} names; prepare the corpus again")
    return arrays


def _open_shard(path: Path, info: dict[str, Any]) -> Shard:
    try:
        shard = Shard(**map_shard(path, info))
    except TypeError as error:
        raise DataError(f"{path}: not a corpus shard: {error}") from error
    sound = (
        len(shard.flags) == shard.n_tokens == int(shard.sentence_offsets[-1])
        and shard.n_sentences == int(shard.document_offsets[-1])
        and len(shard.document_language) == shard.n_documents
    )
    if not sound:
        raise DataError(f"{path}: the arrays of the shard do not fit each other; prepare the corpus again")
    return shard
