"""Merging part files into shards, in the order of the text, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.corpora.corpus import shard_layout, shard_metadata, shard_name, token_dtype
from reader.files.tensorfile import TensorFileWriter, map_arrays
from reader.prepare.document_parts import part_path

Summary = Mapping[str, Any]


def merge_languages(summaries: Sequence[Summary]) -> list[str]:
    """The languages of all parts, in the order of their first appearance."""
    return list(dict.fromkeys(name for summary in summaries for name in summary["languages"]))


def shard_groups(summaries: Sequence[Summary], split: str, shard_tokens: int) -> list[list[Summary]]:
    """Runs of consecutive parts, each of which has about `shard_tokens` tokens of a split and becomes one shard."""
    groups: list[list[Summary]] = []
    room = 0
    for summary in summaries:
        size = summary["splits"][split]["n_tokens"]
        if not size:
            continue
        if room <= 0:
            groups.append([])
            room = shard_tokens
        groups[-1].append(summary)
        room -= size
    return groups


def merge_split(
    folder: Path,
    output: Path,
    split: str,
    groups: Sequence[Sequence[Summary]],
    languages: Sequence[str],
    vocab_sha256: str,
    vocab_size: int,
    progress: Callable[[], None],
) -> list[str]:
    """Writes the shards of one split; returns their names.

    Args:
        folder: folder of the parts.
        output: folder of the shards.
        split: name of the split.
        groups: from `shard_groups`.
        languages: from `merge_languages`.
        vocab_sha256, vocab_size: hash and size of the vocabulary.
        progress: called after each shard.
    """
    names = []
    for number, group in enumerate(groups):
        totals = {
            key: sum(summary["splits"][split][key] for summary in group)
            for key in ("n_tokens", "n_sentences", "n_documents")
        }
        layout = shard_layout(token_dtype(vocab_size), **totals)
        name = shard_name(split, number)
        with TensorFileWriter(output / name, layout, shard_metadata(split, vocab_sha256, vocab_size)) as writer:
            for array in layout:
                writer.write(array, _pieces(folder, split, array, group, languages))
        names.append(name)
        progress()
    return names


def _pieces(
    folder: Path, split: str, array: str, group: Sequence[Summary], languages: Sequence[str]
) -> Iterator[NDArray[Any]]:
    """One array of a shard, part by part; each part is mapped only while it is copied."""
    base = 0
    if array.endswith("_offsets"):
        yield np.zeros(1, np.int64)
    for summary in group:
        piece = map_arrays(part_path(folder, summary["number"]))[0][f"{split}.{array}"]
        if array.endswith("_offsets"):
            yield piece[1:] + base
            base += int(piece[-1])
        elif array == "document_language":
            table = np.array([*(languages.index(name) for name in summary["languages"]), -1], dtype=np.int16)
            yield table[piece]  # -1, unknown, takes the last entry
        else:
            yield piece
