"""Files of tagged sentences: CoNLL columns and tables; which columns; what cannot be used, and why."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reader.errors import DataError
from reader.tables.tagged import Tagged, open_tagged, tagged_format


def read(path: Path, content: str | bytes, **options: Any) -> list[Tagged]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(path, **options)


def read_file(path: Path, **options: Any) -> list[Tagged]:
    arguments = {"format": "auto", "header": True, "tokens": None, "tags": None, "labelled": True, **options}
    with open_tagged(path, **arguments) as sentences:
        return list(sentences)


CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\n-DOCSTART- -X- O\nBonn NNP B-LOC"
TWO = [Tagged(3, ["EU", "rejects"], ["B-ORG", "O"]), Tagged(8, ["Bonn"], ["B-LOC"])]


@pytest.mark.parametrize("separator", [" ", "\t", "   "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns(tmp_path: Path, separator: str, end: str) -> None:
    content = CONLL.replace(" ", separator).replace("\n", end)
    assert read(tmp_path / "f.conll", content) == TWO
    assert read(tmp_path / "f.gz", gzip.compress(content.encode())) == TWO


def test_other_columns_and_none(tmp_path: Path) -> None:
    assert [s.tags for s in read(tmp_path / "f.txt", CONLL, tags="2")] == [["NNP", "VBZ"], ["NNP"]]
    assert [s.tags for s in read(tmp_path / "f.txt", CONLL, tags="-2")] == [["NNP", "VBZ"], ["NNP"]]
    assert [s.tokens for s in read(tmp_path / "f.txt", CONLL, tokens="3", tags="1")] == [["B-ORG", "O"], ["B-LOC"]]
    assert read(tmp_path / "f.txt", "EU\nrejects\n\nBonn\n", labelled=False) == [
        Tagged(1, ["EU", "rejects"]), Tagged(4, ["Bonn"])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("a O\nb O\n\nc\n\nd O\n", 4, "1 columns where the first line has 2"),
        (b"a O\n\nb O\ncaf\xe9 O\nd O\n\ne O\n", 4, "not UTF-8; convert"),
        ("a O\n\nb x O\nc O\n\nd O\n", 3, "3 columns where the first line has 2"),
    ],
)
def test_a_bad_line_spoils_its_sentence_only(tmp_path: Path, content: str | bytes, line: int, message: str) -> None:
    found = read(tmp_path / "f.conll", content)
    assert [bool(s.problem) for s in found] == [False, True, False]
    assert found[1].line == line
    assert message in found[1].problem
    assert [s.tokens[0] for s in (found[0], found[2])] in (["a", "d"], ["a", "e"])


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    assert "there are only 2 columns" in read(tmp_path / "f.conll", "a O\n", tags="3")[0].problem
    assert "there are only 2 columns" in read(tmp_path / "f.conll", "a O\n", tags="-3")[0].problem
    assert "are the same column" in read(tmp_path / "f.conll", "a\nb\n")[0].problem
    for name in ("word", "0", "1.5"):
        with pytest.raises(DataError, match="the columns of CoNLL files are numbers"):
            read(tmp_path / "f.conll", "a O\n", tokens=name)


def test_tables(tmp_path: Path) -> None:
    wanted = [Tagged(2, ["EU", "says"], ["B-ORG", "O"]), Tagged(3, ["Bonn"], ["B-LOC"])]
    assert read(tmp_path / "t.tsv", "tokens\tlabel\nEU says\tB-ORG O\nBonn\tB-LOC\n") == wanted
    assert read(tmp_path / "t.tsv", "tokens\tlabel\nEU\x02says\tB-ORG\x02O\nBonn\tB-LOC\n") == wanted
    assert read(tmp_path / "t.csv", 'l,t\nB-ORG O,EU says\n"B-LOC",Bonn\n', tokens="t", tags="l") == wanted
    lines = '{}\n{"tokens": ["EU", "says"], "label": ["B-ORG", "O"]}\n{"tokens": "Bonn", "label": "B-LOC"}\n'
    found = read(tmp_path / "t.jsonl", lines)
    assert found[0].problem == "column 'tokens': missing"
    assert found[1:] == wanted
    # A token may hold a space where spaces separate nothing.
    assert read(tmp_path / "t.tsv", "tokens\tlabel\nNew York\x02is\tB-LOC\x02O\n")[0].tokens == ["New York", "is"]
    assert read(tmp_path / "t.tsv", "tokens\nEU says\n", labelled=False) == [Tagged(2, ["EU", "says"])]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"tokens": ["a", "b"], "label": ["O"]}', "2 tokens but 1 tags"),
        ('{"tokens": ["a", 3], "label": ["O", "O"]}', "column 'tokens': the list must hold texts only"),
        ('{"tokens": [], "label": []}', "column 'tokens': empty"),
        ('{"tokens": 7, "label": []}', "column 'tokens': a text or a list of texts is expected, found int"),
        ('{"tokens": ["a"]}', "column 'label': missing"),
        ('{"tokens": ["\\ud800"], "label": ["O"]}', "not U"),
        ("nonsense", "not valid JSON"),
    ],
)
def test_unusable_rows(tmp_path: Path, row: str, message: str) -> None:
    found = read(tmp_path / "t.jsonl", '{"tokens": "a", "label": "O"}\n' + row + "\n")
    assert found[0] == Tagged(1, ["a"], ["O"])
    assert found[1].line == 2
    assert message in found[1].problem


def test_a_table_without_the_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'tokens'"):
        read(tmp_path / "t.tsv", "words\tlabel\na\tO\n")


def test_formats_by_name() -> None:
    names = ("a.tsv.gz", "a.json", "eng.testa", "a.iob.gz", "a.txt")
    assert [tagged_format(name, "auto") for name in names] == ["tsv", "jsonl", "conll", "conll", "conll"]
    assert tagged_format("a.tsv", "conll") == "conll"
    with pytest.raises(DataError, match="format 'squad' holds no tagged sentences"):
        tagged_format("a.tsv", "squad")


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ('{"tokens": ["Ann", "left"], "label": ["B-PER", "O"]}\n', None),
        ('\ufeff{"words": ["Ann", "left"], "label": ["B-PER", "O"]}\n', "words"),
        ("label\ttokens\r\nB-PER O\tAnn left\r\n", None),
        ("words\tlabel\nAnn left\tB-PER O\n", "1|words"),
        ("Ann B-PER\nleft O\n", None),
        ("Ann\tB-PER\nleft\tO\n", "1|tokens"),
    ],
)
def test_standard_input_is_known_by_its_first_line(
    content: str, tokens: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(content.encode()))))
    with open_tagged("-", "auto", True, tokens, "label|2", labelled=True) as sentences:
        found = [(sentence.tokens, sentence.tags, sentence.problem) for sentence in sentences]
    assert found == [(["Ann", "left"], ["B-PER", "O"], "")]


def test_published_files_are_read_whole(test_data: Path) -> None:
    """Sentences and tokens counted by splitting the files."""
    spanish = gzip.decompress(next((test_data / "ner" / "conll2002").glob("esp.testa*")).read_bytes()).decode("utf-8")
    blocks = [block.split("\n") for block in spanish.strip("\n").split("\n\n")]
    found = read_file(next((test_data / "ner" / "conll2002").glob("esp.testa*")))
    assert not any(s.problem for s in found)
    assert [s.tokens for s in found] == [[line.split(" ")[0] for line in block] for block in blocks]
    assert [s.tags for s in found] == [[line.split(" ")[-1] for line in block] for block in blocks]
    chinese = read_file(test_data / "zh" / "msra_ner" / "dev.tsv.gz", tokens="text_a")
    assert len(chinese) == 2318
    assert not any(s.problem for s in chinese)
    assert all(len(s.tokens) == len(s.tags) and all(len(token) == 1 for token in s.tokens) for s in chinese)
