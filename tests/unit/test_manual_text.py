"""The quickstart's text: labels are true, and nothing of the dev table is trained on."""

from __future__ import annotations

import json
from pathlib import Path

from ernie_paddle.manual_text import cell, manual_topics, passages_of, write_quickstart_data


def test_labels_are_true_and_dev_passages_occur_nowhere_else(tmp_path: Path) -> None:
    data = write_quickstart_data(tmp_path, seed=3)
    topics_of: dict[str, set[str]] = {}
    for topic, text in manual_topics().items():
        for passage in passages_of(text):
            topics_of.setdefault(cell(passage), set()).add(topic)
    corpus = [cell(p) for line in data.corpus.read_text().splitlines() for p in json.loads(line)["text"].split("\n\n")]
    assert len(corpus) == len(set(corpus)) == data.passages > 800
    seen: dict[str, list[str]] = {}
    for name, table, count in (("train", data.train, data.train_rows), ("dev", data.dev, data.dev_rows)):
        rows = [line.split("\t") for line in table.read_text().splitlines()]
        assert rows[0] == ["passage", "topic"]
        assert all(topics_of[passage] == {topic} for passage, topic in rows[1:])
        assert {topic for _, topic in rows[1:]} == set(data.topics)
        seen[name] = [passage for passage, _ in rows[1:]]
        assert len(set(seen[name])) == count > 100
    assert not set(seen["dev"]) & set(seen["train"] + corpus)
    assert set(seen["train"]) <= set(corpus)
    assert set(seen["dev"]) | set(corpus) == set(topics_of)


def test_the_same_seed_gives_the_same_files_and_leaves_them_alone(tmp_path: Path) -> None:
    first = write_quickstart_data(tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    assert write_quickstart_data(tmp_path) == first
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
    write_quickstart_data(tmp_path, seed=1)
    assert first.dev.read_bytes() != before[first.dev][0]


def test_passages_are_prose() -> None:
    blocks = [
        "Title\n*****",
        '   stmt ::= "if" test and other things that a grammar says',
        "This is a line of prose that\ngoes on over two lines.",
        ">>> a = 1 and so on for ever and ever",
        "Too short.",
    ]
    assert passages_of("\n\n".join(blocks)) == ["This is a line of prose that goes on over two lines."]
