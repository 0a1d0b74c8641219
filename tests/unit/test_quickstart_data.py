"""The quickstart's text: labels are true, and nothing of the dev table is trained on."""

from __future__ import annotations

import json
from pathlib import Path

from ernie_paddle.quickstart_data import manual_topics, passages_of, write_quickstart_data


def test_labels_are_true_and_dev_passages_occur_nowhere_else(tmp_path: Path) -> None:
    data = write_quickstart_data(tmp_path, seed=3)
    topics_of: dict[str, set[str]] = {}
    for topic, text in manual_topics().items():
        for passage in passages_of(text):
            topics_of.setdefault(passage.replace("\t", " "), set()).add(topic)
    trained = {
        passage.replace("\t", " ")
        for line in data.corpus.read_text().splitlines()
        for passage in json.loads(line)["text"].split("\n\n")
    }
    seen: dict[str, set[str]] = {}
    for name, table in (("train", data.train), ("dev", data.dev)):
        rows = [line.split("\t") for line in table.read_text().splitlines()]
        assert rows[0] == ["passage_a", "passage_b", "label"]
        labels = [label for _, _, label in rows[1:]]
        assert labels.count("same") == labels.count("different") > 100
        for a, b, label in rows[1:]:
            assert a != b
            assert len(topics_of[a]) == len(topics_of[b]) == 1
            assert (topics_of[a] == topics_of[b]) == (label == "same")
        seen[name] = {passage for a, b, _ in rows[1:] for passage in (a, b)}
    assert not seen["dev"] & (seen["train"] | trained)
    assert seen["train"] <= trained


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
