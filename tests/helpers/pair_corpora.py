"""Corpora of labelled pairs whose words are w0, w1, … with the ids FIRST, FIRST + 1, …"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.batches.step_reader import StepReader
from reader.prepare.pair_parts import PairColumns
from reader.prepare.pairs import prepare_pairs
from reader.tokenizers.vocab import SPECIALS
from reader.tokenizers.wordpiece import WordPieceTokenizer

FIRST = len(SPECIALS)
Pair = tuple[Sequence[int], Sequence[int], str]


def prepared(folder: Path, pairs: Sequence[Pair], words: int = 64, heldout: float = 0.0) -> str:
    """Write a table of these pairs and prepare it."""
    from helpers.objective_corpora import make_vocab

    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "pairs.tsv"
    lines = ["a\tb\tlabel"]
    lines += ["\t".join((*(" ".join(f"w{i}" for i in text) for text in pair[:2]), pair[2])) for pair in pairs]
    table.write_text("\n".join(lines) + "\n")
    tokenizer = WordPieceTokenizer(make_vocab(FIRST + words), lowercase=True)
    prepare_pairs([table], folder / "corpus", tokenizer, PairColumns("a", "b", "label"), heldout=heldout)
    return str(folder / "corpus")


def reader_of(paths: Sequence[str], objectives: dict[str, dict[str, Any]], length: int = 40, **more: Any) -> StepReader:
    settings: dict[str, Any] = {"batch_rows": 8, "min_tokens": 1, "seed": 2} | more
    return TaskData("pairs", objectives, [(path, 1.0) for path in paths], length, **settings).open()
