"""The text of the quickstart: Python's own manual, as a pre-training corpus and as a pair-classification task.

Every Python installation carries the manual of the language in ``pydoc_data.topics``: about 80 documents.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MIN_WORDS = 8


@dataclass(frozen=True)
class QuickstartData:
    """Files written by :func:`write_quickstart_data`, and how much is in them."""

    corpus: Path
    train: Path
    dev: Path
    documents: int
    passages: int
    pairs: int


def manual_topics() -> Mapping[str, str]:
    """The manual: topic → text."""
    from pydoc_data.topics import topics

    manual: dict[str, str] = topics
    return manual


def passages_of(text: str) -> list[str]:
    """Paragraphs of prose: grammar rules, code and headings are left out, lines are joined."""
    passages = []
    for block in re.split(r"\n\s*\n", text):
        passage = " ".join(line.strip() for line in block.splitlines()).strip()
        letters = sum(c.isalpha() or c == " " for c in passage)
        is_code = "::=" in passage or passage.startswith((">>>", "***", "==="))
        if len(passage.split()) >= _MIN_WORDS and not is_code and letters > 0.8 * len(passage):
            passages.append(passage)
    return passages


def write_quickstart_data(
    folder: Path, *, seed: int = 0, dev_share: float = 0.2, pairs_per_passage: int = 4
) -> QuickstartData:
    """Write ``corpus.jsonl`` and the two tables of the task *do these two passages come from the same topic?*

    A passage that stands in several topics (the manual repeats itself) is kept once, in none of the pairs. One in
    five passages is held out for the development table; it occurs neither in the corpus nor in the training table.
    """
    rng = random.Random(seed)
    by_topic = {topic: passages_of(text) for topic, text in sorted(manual_topics().items())}
    topics_of = Counter(p for passages in by_topic.values() for p in set(passages))
    seen: set[str] = set()
    train: dict[str, list[str]] = {}
    dev: dict[str, list[str]] = {}
    documents: list[list[str]] = []
    for topic, passages in by_topic.items():
        document = []
        for passage in dict.fromkeys(passages):
            unique = topics_of[passage] == 1
            held_out = unique and rng.random() < dev_share
            if unique:
                (dev if held_out else train).setdefault(topic, []).append(passage)
            if not held_out and passage not in seen:
                seen.add(passage)
                document.append(passage)
        if document:
            documents.append(document)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "corpus.jsonl"
    _write(corpus, [json.dumps({"text": "\n\n".join(document), "language": "en"}) for document in documents])
    n_pairs = 0
    for name, part in (("train", train), ("dev", dev)):
        rows = _pairs(part, rng, pairs_per_passage)
        n_pairs += len(rows)
        _write(folder / f"{name}.tsv", ["passage_a\tpassage_b\tlabel", *("\t".join(row) for row in rows)])
    n_passages = sum(len(document) for document in documents)
    return QuickstartData(corpus, folder / "train.tsv", folder / "dev.tsv", len(documents), n_passages, n_pairs)


def _write(path: Path, lines: list[str]) -> None:
    """Write the lines, unless the file holds them already: a new date would make `ernie prepare` start anew."""
    text = "\n".join(lines) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _pairs(passages: dict[str, list[str]], rng: random.Random, per_passage: int) -> list[tuple[str, str, str]]:
    """For every passage as many partners from its own topic as from others, so that the classes are even."""
    topics = sorted(topic for topic, own in passages.items() if len(own) > 1)
    rows = []
    for topic in topics:
        for passage in passages[topic]:
            for _ in range(per_passage // 2):
                partner = rng.choice([p for p in passages[topic] if p != passage])
                rows.append((passage, partner, "same"))
                other = rng.choice([t for t in topics if t != topic])
                rows.append((passage, rng.choice(passages[other]), "different"))
    rng.shuffle(rows)
    return [(a.replace("\t", " "), b.replace("\t", " "), label) for a, b, label in rows]
