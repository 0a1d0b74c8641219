"""Mining of discourse relations against a slow reading of the rule, and against pairs that others mined by it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reader.errors import DataError
from reader.report import SkipReport
from reader.text.discourse import MARKERS, MarkedPair, MiningRule, balance, mine, read_markers
from reader.text.documents import Document, read_documents

RULE = MiningRule(["but", "but then", "as a result"], min_words=2, max_words=4)
OPENINGS = st.sampled_from(
    [
        "But, ",
        "but then, ",
        "But then ",
        "As a  result, ",
        "As a result,",
        "“But, ",
        "Butter, ",
        "a but, ",
        "",
        "but , ",
    ]
)
WORDS = st.lists(st.sampled_from(["a", "b,", "but,", "Ω"]), min_size=0, max_size=5).map(" ".join)
SENTENCE = st.tuples(OPENINGS, WORDS).map("".join).map(str.strip).filter(bool)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    sentences = draw(st.lists(SENTENCE, min_size=1, max_size=8))
    starts = draw(st.sets(st.integers(1, 8), max_size=2))
    return Document(sentences, None, "file:1", 1, sorted(starts))


def slow(texts: list[Document]) -> list[tuple[str, str, str]]:
    """The rule, marker by marker."""
    found: list[tuple[str, str, str]] = []
    for text in texts:
        for i in range(1, len(text.sentences)):
            first, second = (" ".join(text.sentences[j].split()) for j in (i - 1, i))
            if i in text.paragraph_starts:
                continue
            stripped = second.removeprefix("“")
            for marker in RULE.markers:
                for comma in (", ", " , "):
                    if stripped.lower().startswith(marker + comma):
                        rest = stripped[len(marker + comma) :]
                        pair = (first, rest[:1].upper() + rest[1:], marker)
                        sizes = (len(first.split()), len(rest.split()))
                        known = [other[:2] for other in found]  # whatever their marker
                        if min(sizes) >= 2 and max(sizes) <= 4 and pair[:2] not in known:
                            found.append(pair)
    return found


@example([Document(["But, b,", "But, a a b, b,", "But, b,", "but then, a a b, b,"], None, "file:1", 1, [])])
@given(st.lists(documents(), max_size=4))
def test_mining_equals_a_slow_reading(texts: list[Document]) -> None:
    report = SkipReport()
    pairs = list(mine(texts, RULE, report))
    assert [(pair.first, pair.second, pair.marker) for pair in pairs] == slow(texts)
    assert all(pair.document == "file:1" for pair in pairs)


def test_chinese_and_what_is_counted(tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("河流经过城市。\n但是，桥很老。\n\nA b c.\nSo, d e f.\n\nA b c.\nSo, d e f.\n\nA b c.\nSo, d.\n")
    report = SkipReport()
    rule = MiningRule(["但是", "so"])
    pairs = list(mine(read_documents([text], "lines"), rule, report))
    assert pairs == [
        MarkedPair("河流经过城市。", "桥很老。", "但是", f"{text}:1"),
        MarkedPair("A b c.", "D e f.", "so", f"{text}:4"),
    ]
    assert report.lines() == [
        f"1 × marked pair that was there before ({text}:7)",
        f"1 × marked pair with a sentence outside 3 to 32 words ({text}:10)",
    ]


def test_paragraphs_are_known_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"paragraphs": [["Aa bb.", " "], [], ["Ca dd.", "Ea ff."]]}\n{"text": "Aa bb. Ca dd.\\nEa ff."}\n'
    )
    (tmp_path / "b.txt").write_text("Aa bb. Ca dd.\nEa ff. Ga hh.\n\nIa jj.\n")
    found = [(d.sentences, list(d.paragraph_starts)) for d in read_documents([tmp_path / "a.jsonl"])]
    assert found == [(["Aa bb.", "Ca dd.", "Ea ff."], [1]), (["Aa bb.", "Ca dd.", "Ea ff."], [2])]
    found = [(d.sentences, list(d.paragraph_starts)) for d in read_documents([tmp_path / "b.txt"], "paragraphs")]
    assert found == [(["Aa bb.", "Ca dd.", "Ea ff.", "Ga hh."], [2]), (["Ia jj."], [])]


def test_balance_is_seeded_and_keeps_the_order() -> None:
    pairs = [MarkedPair(f"a {i}", f"b {i}", "so" if i % 4 else "but", f"f:{i}") for i in range(40)]
    report = SkipReport()
    chosen = balance(pairs, 6, 1, report)
    assert [pair.marker for pair in chosen].count("so") == [pair.marker for pair in chosen].count("but") == 6
    assert [pairs.index(pair) for pair in chosen] == sorted(pairs.index(pair) for pair in chosen)
    assert report.total == 28
    assert set(balance(pairs[::-1], 6, 1, SkipReport())) == set(chosen)
    assert set(balance(pairs, 6, 2, SkipReport())) != set(chosen)
    assert balance(pairs, 100, 1, SkipReport()) == pairs


def test_marker_files(tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_text("as_a_result,\nBut\n\nbut,\n")
    assert read_markers(path) == ["as a result", "but"]
    path.write_text("\n")
    with pytest.raises(DataError, match="no markers"):
        read_markers(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_markers(path)
    with pytest.raises(DataError, match="cannot read"):
        read_markers(tmp_path / "none")
    with pytest.raises(DataError, match="sentences of 5 to 4 words are impossible"):
        MiningRule(min_words=5, max_words=4)


def test_the_default_markers_are_plain() -> None:
    assert len(MARKERS) == len(set(MARKERS)) > 80
    assert all(re.fullmatch("[a-z]+( [a-z]+)*", marker) for marker in MARKERS)


def test_others_mined_the_same(test_data: Path) -> None:
    """All of the 2,855 reference pairs are found, with their labels, and next to nothing else: the reference leaves a
    single opening quote before a marker alone, which makes two pairs more here.
    """
    discourse = test_data / "discourse"
    packed = gzip.decompress((discourse / "discovery_style_mined_train.tsv.gz").read_bytes()).decode("utf-8")
    reference = {tuple(line.split("\t")[:3]) for line in packed.splitlines()[1:]}
    rule = MiningRule(read_markers(discourse / "discovery_markers_list.txt"), min_words=4, max_words=60)
    texts = read_documents([test_data / "pretrain_en" / "*.jsonl.gz"])
    mined = {(pair.first, pair.second, pair.marker) for pair in mine(texts, rule, SkipReport())}
    assert reference - mined == set()
    assert len(mined - reference) <= 0.002 * len(reference)
