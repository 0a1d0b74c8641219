"""The text of the quickstart: Python's own manual, as a pre-training corpus and as a classification task.

Every Python installation includes the manual of the language in ``pydoc_data.topics``: about 80 documents.
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
    """Files written by :func:`write_quickstart_data`, and their sizes."""

    corpus: Path
    train: Path
    dev: Path
    documents: int
    passages: int
    topics: list[str]
    train_rows: int
    dev_rows: int


def manual_topics() -> Mapping[str, str]:
    """The manual: topic → text."""
    from pydoc_data.topics import topics

    manual: dict[str, str] = topics
    return manual


def passages_of(text: str) -> list[str]:
    """Paragraphs of prose: grammar rules, code and headings are dropped, lines are joined."""
    passages = []
    for block in re.split(r"\n\s*\n", text):
        passage = " ".join(line.strip() for line in block.splitlines()).strip()
        letters = sum(c.isalpha() or c == " " for c in passage)
        is_code = "::=" in passage or passage.startswith((">>>", "***", "==="))
        if len(passage.split()) >= _MIN_WORDS and not is_code and letters > 0.75 * len(passage):
            passages.append(passage)
    return passages


def write_quickstart_data(folder: Path, *, seed: int = 0, topics: int = 8, dev_share: float = 0.25) -> QuickstartData:
    """Write ``corpus.jsonl`` and the two tables of the task *from which of the largest topics does this passage come?*

    A passage that occurs in several topics (the manual repeats itself) is in neither table. The passages of the
    development table occur neither in the corpus nor in the training table.
    """
    rng = random.Random(seed)
    by_topic = {topic: list(dict.fromkeys(passages_of(text))) for topic, text in sorted(manual_topics().items())}
    topics_of = Counter(passage for passages in by_topic.values() for passage in passages)
    unique = {topic: [p for p in passages if topics_of[p] == 1] for topic, passages in by_topic.items()}
    largest = sorted(unique, key=lambda topic: (-len(unique[topic]), topic))[:topics]
    rows = [(passage, topic) for topic in largest for passage in unique[topic]]
    rng.shuffle(rows)
    dev = rows[: round(len(rows) * dev_share)]
    train = rows[len(dev) :]

    left_out = {passage for passage, _ in dev}
    documents = []
    for passages in by_topic.values():
        document = [passage for passage in passages if passage not in left_out]
        left_out.update(document)  # every passage is in the corpus only once
        if document:
            documents.append(document)
    folder.mkdir(parents=True, exist_ok=True)
    data = QuickstartData(
        corpus=folder / "corpus.jsonl",
        train=folder / "train.tsv",
        dev=folder / "dev.tsv",
        documents=len(documents),
        passages=sum(map(len, documents)),
        topics=largest,
        train_rows=len(train),
        dev_rows=len(dev),
    )
    _write(data.corpus, [json.dumps({"text": "\n\n".join(document), "language": "en"}) for document in documents])
    for path, part in ((data.train, train), (data.dev, dev)):
        _write(path, ["passage\ttopic", *(f"{cell(passage)}\t{topic}" for passage, topic in part)])
    return data


def cell(passage: str) -> str:
    """Format a passage as a cell of a TSV, which has no quotes."""
    return passage.replace("\t", " ")


def _write(path: Path, lines: list[str]) -> None:
    """Write the lines, unless the file already has them: a new date would make `ernie prepare` start again."""
    text = "\n".join(lines) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
