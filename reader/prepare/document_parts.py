"""The work of worker processes: parse, tokenise and segment one block of text, and write it as a part file.

A part holds the arrays of a shard for each split, with offsets that count from the start of the part.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.corpora.corpus import Shard, shard_layout, token_dtype
from reader.errors import DataError
from reader.files.tensorfile import map_arrays, write_arrays
from reader.report import SkipReport
from reader.text.blocks import Block
from reader.text.document_limits import DocumentLimits, cut_documents
from reader.text.documents import Document, parse_block
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.wordpiece import single_threaded
from reader.units.segmenters import make_segmenters, mark
from reader.units.words import SentenceWords

SPLITS = ("train", "heldout")
_SENTENCES_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class PartSettings:
    """The settings of a worker: the folders of parts and tokenizer, segmenters, held-out share, language and limits.

    A document is held out if its draw, a hash of 64 bits, is below `heldout_below`; see `draw_limit`.
    """

    folder: Path
    tokenizer: Path
    segmenters: tuple[str, ...]
    phrases: Path | None
    heldout_below: int
    seed: int
    language: str | None
    limits: DocumentLimits


def draw_limit(heldout: float) -> int:
    """The value of `PartSettings.heldout_below` that holds out the share `heldout` of the documents."""
    return math.ceil(heldout * 2.0**64)


@dataclass(frozen=True)
class PartTask:
    """A block, and its number counted over all files."""

    number: int
    block: Block


def part_path(folder: Path, number: int) -> Path:
    """Path of the file of a part."""
    return folder / f"block-{number:06d}.safetensors"


class PartWorker:
    """Makes a part file of each block."""

    def __init__(self, settings: PartSettings) -> None:
        self._settings = settings
        self._tokenizer = load_tokenizer(settings.tokenizer)
        self._segmenters = make_segmenters(settings.segmenters, self._tokenizer, settings.phrases)
        self._dtype = token_dtype(self._tokenizer.vocab.size)

    def __call__(self, task: PartTask) -> dict[str, Any]:
        """Writes the part of a block; returns its summary, which is also in the header of the part."""
        report = SkipReport()
        documents = self._large_enough(parse_block(task.block, report, self._settings.language), report)
        arrays, splits, languages, lowest = self._arrays(documents, task.block.source.number, report)
        summary = {
            "number": task.number,
            "source": task.block.source.number,
            "lowest_draw": lowest,
            "crc": zlib.crc32(task.block.data),
            "bytes": len(task.block.data),
            "splits": splits,
            "languages": languages,
            "skipped": report.to_dict(),
        }
        write_arrays(part_path(self._settings.folder, task.number), arrays, {"summary": json.dumps(summary)})
        return summary

    def _large_enough(self, documents: list[Document], report: SkipReport) -> list[Document]:
        kept = []
        for document in documents:
            reason = self._settings.limits.too_small(document)
            if reason is None:
                kept.append(document)
            else:
                report.add(reason, document.source)
        return kept

    def _arrays(
        self, documents: list[Document], source: int, report: SkipReport
    ) -> tuple[dict[str, NDArray[Any]], dict[str, dict[str, int]], list[str], int | None]:
        """The part's arrays, the counts of each split, the languages, and the lowest draw of a usable document."""
        texts = [sentence for document in documents for sentence in document.sentences]
        ids, flags, lengths = self._encode(texts)
        sizes = np.array([len(document.sentences) for document in documents], dtype=np.int64)
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        for number in np.flatnonzero(lengths == 0).tolist():
            document = documents[int(np.searchsorted(bounds, number, side="right")) - 1]
            report.add("sentence without tokens", f"in the document at {document.source}")
        counts = np.diff(np.concatenate([[0], np.cumsum(lengths > 0)])[bounds])
        for number in np.flatnonzero(counts == 0).tolist():
            report.add("document without sentences", documents[number].source)
        whole = np.arange(len(documents))
        if self._settings.limits.tokens is not None:
            # From here on, a piece is a document of its own.
            sizes, whole = cut_documents(lengths, sizes, self._settings.limits.tokens)
            counts = np.diff(np.concatenate([[0], np.cumsum(lengths > 0)])[np.concatenate([[0], np.cumsum(sizes)])])
        pieces = np.arange(len(whole)) - np.searchsorted(whole, whole)
        languages: dict[str, int] = {}
        language = np.array(
            [-1 if d.language is None else languages.setdefault(d.language, len(languages)) for d in documents],
            dtype=np.int16,
        )[whole]
        draws = [
            draw(self._settings.seed, source, documents[number].line, piece)
            for number, piece in zip(whole.tolist(), pieces.tolist(), strict=True)
        ]
        heldout = np.array([number < self._settings.heldout_below for number in draws], dtype=np.bool_)
        lowest = min((number for number, count in zip(draws, counts.tolist(), strict=True) if count), default=None)
        arrays: dict[str, NDArray[Any]] = {}
        described: dict[str, dict[str, int]] = {}
        for split, chosen in zip(SPLITS, (~heldout, heldout), strict=True):
            chosen = chosen & (counts > 0)
            kept = np.repeat(chosen, sizes) & (lengths > 0)
            tokens = np.repeat(kept, lengths)
            shard = Shard(
                tokens=ids[tokens],
                flags=flags[tokens],
                sentence_offsets=np.concatenate([[0], np.cumsum(lengths[kept])]),
                document_offsets=np.concatenate([[0], np.cumsum(counts[chosen])]),
                document_language=language[chosen],
            )
            layout = shard_layout(self._dtype, shard.n_tokens, shard.n_sentences, shard.n_documents)
            for name, (dtype, _) in layout.items():
                arrays[f"{split}.{name}"] = getattr(shard, name).astype(dtype)
            described[split] = {
                "n_documents": shard.n_documents,
                "n_sentences": shard.n_sentences,
                "n_tokens": shard.n_tokens,
                "n_unknown": int(np.count_nonzero(shard.tokens == self._tokenizer.vocab.unk)),
            }
        return arrays, described, list(languages), lowest

    def _encode(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]:
        """Ids and flags of all sentences, and the number of tokens of each."""
        ids: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        flags: list[NDArray[np.uint8]] = [np.zeros(0, np.uint8)]
        lengths: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        for begin in range(0, len(texts), _SENTENCES_AT_ONCE):
            part = texts[begin : begin + _SENTENCES_AT_ONCE]
            batch = self._tokenizer.encode_batch(part)
            ids.append(batch.ids)
            lengths.append(np.diff(batch.offsets))
            if self._segmenters:
                sentences = SentenceWords.of(batch, part)
                flags.append(mark(sentences, [spans for one in self._segmenters for spans in one.find(sentences)]))
            else:
                flags.append(batch.flags)
        return np.concatenate(ids), np.concatenate(flags), np.concatenate(lengths)


def draw(seed: int, source: int, line: int, piece: int = 0) -> int:
    """A pseudo-random number below 2**64 for the document at `line` of the file `source`, as a function of the seed.

    Each piece of a cut document has a draw of its own.
    """
    text = f"{seed}:{source}:{line}" + (f":{piece}" if piece else "")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def start_worker(settings: PartSettings) -> PartWorker:
    """Sets up a worker process, with one thread and its own tokenizer."""
    single_threaded()
    return PartWorker(settings)


def read_summary(folder: Path, task: PartTask) -> dict[str, Any] | None:
    """The summary of a part that an earlier run made from the same bytes; None if there is no such part."""
    path = part_path(folder, task.number)
    if not path.exists():
        return None
    try:
        summary = json.loads(map_arrays(path)[1]["summary"])
    except (DataError, KeyError, ValueError):
        return None
    if "lowest_draw" not in summary:  # written by an older version of this program
        return None
    if summary.get("crc") != zlib.crc32(task.block.data) or summary.get("bytes") != len(task.block.data):
        return None
    return dict(summary)
