"""What is said of files that are not UTF-8: the advice must turn them into what they were."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from reader.errors import DataError
from reader.files.encodings import not_utf8, refuse_utf16
from reader.tables.questions import read_questions
from reader.tables.table import open_table
from reader.tables.tagged import open_tagged

CHINESE = "酒店的位置很好，房间也干净，早餐种类丰富。"
TRADITIONAL = "這家飯店的房間很大，服務人員也非常親切。"
LATIN = [
    "café",
    "Müller übt für die Prüfung",
    "Où êtes-vous allé cet été ?",
    "El niño comió piñas mañana",
    "é",
    "naïve",
]


def advised(message: str) -> str:
    """The encoding that a message names."""
    found = re.search(r"\biconv -f (\S+) -t utf-8\)", message)
    assert found is not None, message
    return found.group(1)


@pytest.mark.parametrize("text", [CHINESE, TRADITIONAL, "好", "评分: 5 (满分)", "𠮷野家的味道很好"])
def test_chinese_of_the_mainland(text: str) -> None:
    raw = text.encode("gb18030")
    for given in (raw, raw.decode("utf-8", "surrogateescape")):
        assert advised(not_utf8(given)) == "gb18030"


@pytest.mark.parametrize("text", LATIN)
def test_european_letters(text: str) -> None:
    raw = text.encode("latin1")
    for given in (raw, raw.decode("utf-8", "surrogateescape"), raw + b" \xff\xfe\xfa", (text + "\n").encode("cp1252")):
        assert advised(not_utf8(given)) == "latin1"
        assert "for example latin1" in not_utf8(given)


def test_other_bytes_are_not_taken_for_chinese() -> None:
    """Russian in its old encoding is bytes above 127 throughout; damaged UTF-8 is another matter altogether."""
    for raw in (
        "Я помню чудное мгновенье".encode("cp1251"),
        "Привет всем".encode("cp1251"),
        CHINESE.encode()[:-1] + b"\n",
    ):
        assert "GB18030" not in not_utf8(raw)


def test_a_long_text_is_judged_by_its_beginning() -> None:
    """Wherever that ends: inside a character or not."""
    for shift in range(4):
        assert advised(not_utf8(b"x" * shift + ("𠮷好好" * 200_000).encode("gb18030"))) == "gb18030"


def test_halves_of_a_pair_are_no_matter_of_encoding() -> None:
    assert not_utf8(json.loads('"\\ud800"')) == "not Unicode (half of a surrogate pair)"
    assert "latin1" in not_utf8(json.loads('"\\ud800"') + "\udce9")


@pytest.mark.parametrize("text", ["text\tlabel\ngood\t1\n", f"标签\t文本\n1\t{CHINESE}\n", '{"data": ["好"]}'])
@pytest.mark.parametrize("code", ["utf-16", "utf-16le", "utf-16be"])
def test_utf16_is_refused_with_and_without_its_mark(text: str, code: str) -> None:
    raw = text.encode(code)
    for head in (raw, raw.splitlines(keepends=True)[0]):
        with pytest.raises(DataError, match=r"^x: this is UTF-16; convert it to UTF-8") as error:
            refuse_utf16(head, "x")
        assert raw.decode(advised(str(error.value))) == text


PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0"


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"text\0\tlabel\n", CHINESE.encode(), f"{CHINESE * 99}\0".encode(), PICTURE]
)
def test_what_is_not_utf16_is_not_called_so(raw: bytes) -> None:
    refused = ""
    try:
        refuse_utf16(raw, "x")
    except DataError as error:
        refused = str(error)
    assert not refused


def test_rows_of_utf16_whose_first_line_does_not_show_it() -> None:
    """Chinese characters only: the line ends, and the zero of the line end is on the next one."""
    lines = f"句子\n{CHINESE}\n".encode("utf-16le").splitlines(keepends=True)
    refuse_utf16(lines[0], "x")
    assert advised(not_utf8(lines[1])) == "utf-16le"


@pytest.mark.parametrize("code", ["gb18030", "latin1", "utf-16le"])
def test_all_readers_give_the_advice(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "café, naïve" if code == "latin1" else CHINESE

    def table(path: Path | str, format: str = "auto") -> str:
        with open_table(path, format) as opened:
            return next(row.problem for row in opened.rows)

    def tagged(path: Path) -> str:
        with open_tagged(path, "auto", True, None, None, labelled=True) as sentences:
            return next(sentences).problem

    def questions(path: Path) -> str:
        return next(question.problem for question in read_questions(path, labelled=True))

    def said(read: object, name: str, content: str) -> str:
        path = tmp_path / name
        raw = content.encode(code)
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        try:
            return read(path)  # type: ignore[no-any-return,operator]
        except DataError as error:
            return str(error)

    messages = [
        said(table, "a.tsv", f"text\tlabel\n{text}\t1\n"),
        said(table, "b.tsv.gz", f"{text}\tlabel\n{text}\t1\n"),
        said(table, "c.jsonl", json.dumps({"text": text}, ensure_ascii=False) + "\n"),
        said(tagged, "d.conll", "".join(f"{token} O\n" for token in text.split())),
        said(tagged, "e.tsv", f"tokens\tlabel\n{text} {text}\tO O\n"),
        said(questions, "f.json", json.dumps({"data": [text]}, ensure_ascii=False)),
    ]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(f"text\tlabel\n{text}\t1\n".encode(code))))
    if code == "utf-16le":
        with pytest.raises(DataError, match=r"^standard input: this is UTF-16") as error:
            table("-")
        messages.append(str(error.value))
    else:
        messages.append(table("-"))
    assert [advised(message) for message in messages] == [code] * 7


@pytest.mark.parametrize("name", ["chnsenticorp/dev.tsv.gz", "lcqmc/train_sub.tsv.gz", "msra_ner/dev.tsv.gz"])
def test_real_chinese_rows_are_recognised(test_data: Path, name: str) -> None:
    rows = gzip.decompress((test_data / "zh" / name).read_bytes()).decode().splitlines()[1:1001]
    wrong = [row for row in rows if "GB18030" not in not_utf8(row.encode("gb18030"))]
    assert len(wrong) <= 5, wrong


def test_real_european_rows_are_not_chinese(test_data: Path) -> None:
    """News in German, Spanish and French, in the encoding of that time."""
    lines = [
        line.split("\t")
        for line in gzip.decompress((test_data / "parallel" / "pud_18way.tsv.gz").read_bytes()).decode().splitlines()
    ]
    for language in ("de", "es", "fr", "pt", "fi"):
        column = lines[0].index(language)
        rows = [row for line in lines[1:] if (row := line[column].encode("latin1", "ignore")) and max(row) > 127]
        assert len(rows) > 300
        assert [row for row in rows if advised(not_utf8(row)) != "latin1"] == []
