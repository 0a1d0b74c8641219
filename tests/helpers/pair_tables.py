"""Small tables of labelled pairs, and the slow way to read what a corpus of pairs holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reader.corpora.pairs import PairCorpus
from reader.tokenizers.vocab import SPECIALS, write_vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer

WORDS = ["the", "river", "runs", "by", "old", "stone", "bridge", "but", "not", "now", "query", "title"]

Pair = tuple[tuple[int, ...], tuple[int, ...], str]


def vocabulary(folder: Path) -> Path:
    path = folder / "v.txt"
    write_vocab(path, [*SPECIALS, *WORDS, *(f"w{i}" for i in range(100))])
    return path


def expected(rows: Sequence[tuple[str, str, str]], tokenizer: WordPieceTokenizer) -> list[Pair]:
    return [(tuple(tokenizer.encode(a)), tuple(tokenizer.encode(b)), label) for a, b, label in rows]


def pairs_of(path: Path, split: str = "train") -> list[Pair]:
    """Every pair of a corpus, token by token."""
    corpus = PairCorpus.open(path, split)
    found = []
    for shard in corpus.shards:
        for r in range(len(shard)):
            begin, middle, end = (int(shard.text_offsets[2 * r + i]) for i in range(3))
            a, b = shard.tokens[begin:middle].tolist(), shard.tokens[middle:end].tolist()
            found.append((tuple(a), tuple(b), corpus.labels[int(shard.labels[r])]))
    return found
