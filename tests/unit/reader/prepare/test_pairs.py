"""Preparation of pairs: the rows of the tables, in any format; nothing lost silently, nothing half-done left."""

from __future__ import annotations

import csv
import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.pair_tables import WORDS, expected, pairs_of, vocabulary
from helpers.paths import ROOT, environment
from reader.corpora.corpus import Corpus, read_corpus_info
from reader.corpora.pairs import PairCorpus
from reader.errors import DataError
from reader.prepare import pair_parts
from reader.prepare.documents import prepare
from reader.prepare.pair_parts import PairColumns
from reader.prepare.pairs import prepare_pairs
from reader.tokenizers.load import load_tokenizer

COLUMNS = PairColumns("first", "second", "kind")
Row = tuple[str, str, str]


@pytest.fixture
def vocab(tmp_path: Path) -> Path:
    return vocabulary(tmp_path)


def some_rows(n: int = 60) -> list[Row]:
    rng = np.random.default_rng(0)

    def text() -> str:
        return " ".join(rng.choice(WORDS, rng.integers(1, 9)).tolist())

    return [(f"w{i} {text()}", text(), str(rng.choice(["yes", "no", "10", "maybe so"]))) for i in range(n)]


def write_tsv(path: Path, rows: list[Row]) -> Path:
    lines = ["kind\tfirst\tother\tsecond", *(f"{label}\t{a}\t-\t{b}" for a, b, label in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != "corpus.json"}


@pytest.mark.parametrize("kind", ["tsv", "rels.gz", "csv", "jsonl", "jsonl.gz"])
def test_every_format_gives_the_same_pairs(tmp_path: Path, vocab: Path, kind: str) -> None:
    rows = some_rows()
    path = tmp_path / "t.tsv"
    write_tsv(path, rows)
    if kind == "csv":
        path = tmp_path / "t.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("first", "second", "kind"), *rows])
    elif kind.startswith("jsonl"):
        path = tmp_path / "t.jsonl"
        lines = [json.dumps({"first": a, "second": b, "kind": label}) for a, b, label in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
    if kind.endswith(".gz"):
        packed = tmp_path / f"packed.{kind}"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    summary = prepare_pairs([path], tmp_path / "c", vocab, COLUMNS)
    assert pairs_of(tmp_path / "c") == expected(rows, load_tokenizer(vocab))
    assert summary["labels"] == ["10", "maybe so", "no", "yes"] == PairCorpus.open(tmp_path / "c").labels
    assert summary["pairs"] == 60
    assert summary["skipped"] == {}
    assert summary["splits"]["train"]["labels"] == [sum(row[2] == name for row in rows) for name in summary["labels"]]
    assert not (tmp_path / "c/.partial").exists()


def test_parts_and_shards_do_not_show(tmp_path: Path, vocab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tsv(tmp_path / "t.tsv", some_rows())
    prepare_pairs([path], tmp_path / "one", vocab, COLUMNS, heldout=0.3)
    monkeypatch.setattr(pair_parts, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(pair_parts, "PART_TOKENS", 100)
    prepare_pairs([path], tmp_path / "many", vocab, COLUMNS, heldout=0.3, shard_tokens=100)
    assert len(PairCorpus.open(tmp_path / "one").shards) == 1
    assert len(PairCorpus.open(tmp_path / "many").shards) > 2
    for split in ("train", "heldout"):
        assert pairs_of(tmp_path / "one", split) == pairs_of(tmp_path / "many", split)


def test_rows_are_held_out_by_group(tmp_path: Path, vocab: Path) -> None:
    rows = [(f"w{i % 20} river", f"w{i}", "yes" if i % 3 else "no") for i in range(100)]
    path = write_tsv(tmp_path / "t.tsv", rows)
    for seed in range(4):
        prepare_pairs([path], tmp_path / "c", vocab, COLUMNS, heldout=0.2, seed=seed, overwrite=True)
        train, heldout = (pairs_of(tmp_path / "c", split) for split in ("train", "heldout"))
        assert sorted(train + heldout) == sorted(expected(rows, load_tokenizer(vocab)))
        assert not {a for a, _, _ in train} & {a for a, _, _ in heldout}
        assert train
        assert heldout
    # By another column: all rows have the same value there, so nothing can be held out.
    by_other = PairColumns("first", "second", "kind", group="other")
    summary = prepare_pairs([path], tmp_path / "d", vocab, by_other, heldout=0.2)
    assert list(summary["splits"]) == ["train"]
    assert "nothing is held out" in summary["notes"][0]
    # So small a share that chance alone would take nothing.
    summary = prepare_pairs([path], tmp_path / "e", vocab, COLUMNS, heldout=1e-9)
    assert summary["splits"]["heldout"]["n_documents"] == 5
    with pytest.raises(DataError, match="all 20 groups of rows were drawn"):
        prepare_pairs([path], tmp_path / "f", vocab, COLUMNS, heldout=1 - 1e-12)
    assert not list((tmp_path / "f").iterdir())


def test_labels_are_renamed_ordered_and_left_out(tmp_path: Path, vocab: Path) -> None:
    rows = [("w1", "w2", "1"), ("w3", "w4", "0"), ("w5", "w6", "7"), ("w7", "w8", "2")]
    columns = PairColumns("first", "second", "kind", labels={"1": "strong", "2": "strong", "0": "weak", "9": "none"})
    path = write_tsv(tmp_path / "t.tsv", rows)
    summary = prepare_pairs([path], tmp_path / "c", vocab, columns)
    assert summary["labels"] == ["strong", "weak", "none"]
    assert [label for _, _, label in pairs_of(tmp_path / "c")] == ["strong", "weak", "strong"]
    assert summary["skipped_lines"] == [f"1 × row left out: a label that is none of those named ({path}:4)"]


def test_bad_rows_are_counted_with_their_lines(tmp_path: Path, vocab: Path) -> None:
    path = tmp_path / "t.tsv"
    rows = [
        b"first\tsecond\tkind",
        b"w1\tw2\tyes",
        b"w1\tw2",
        b"w1\t  \tyes",
        b"w1\tw\xff2\tno",
        b"w1\tw2\t",
        b"",
        b"\x01\tw1\tno",
    ]
    path.write_bytes(b"\n".join(rows) + b"\n")
    jsonl = tmp_path / "t.jsonl"
    jsonl.write_text(
        '{"first": "w1", "second": "w2", "kind": true}\n{"first": 3, "second": "w2", "kind": 1}\n{"first"\n'
    )
    summary = prepare_pairs([path, jsonl], tmp_path / "c", vocab, COLUMNS)
    found = {reason.removeprefix("row left out: "): skipped["places"] for reason, skipped in summary["skipped"].items()}
    assert found == {
        "2 columns where the header has 3": [f"{path}:3"],
        "text_b ('second') is empty": [f"{path}:4"],
        "column 'second' is not UTF-8; convert the file from its encoding (for example latin1: iconv -f latin1 -t "
        "utf-8)": [f"{path}:5"],
        "column 'kind': the label is missing": [f"{path}:6"],
        "empty line": [f"{path}:7"],
        "text without tokens": [f"{path}:8"],
        "text_a ('first') is not a text but int": [f"{jsonl}:2"],
        "not valid JSON": [f"{jsonl}:3"],
    }
    # "no" stood in unusable rows alone.
    assert summary["labels"] == ["true", "yes"]
    assert len(pairs_of(tmp_path / "c")) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.tsv", "first\tsecond\tkid\n", "there is no column 'kind'; did you mean 'kid'"),
        ("t.tsv", "first\tsecond\tkind\n", "no usable rows"),
        ("t.tsv", "first\tsecond\tkind\nw1\t\tyes\n", r"no usable rows in the input:\n1 × row left out"),
        ("t.doc", "first\tsecond\tkind\nw1\tw2\tyes\n", "cannot tell the format"),
        ("t.tsv", "", "all 1 input files are empty"),
    ],
    ids=["column", "header-only", "nothing-usable", "extension", "empty"],
)
def test_useless_input_is_refused(tmp_path: Path, vocab: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        prepare_pairs([tmp_path / name], tmp_path / "c", vocab, COLUMNS)
    assert not (tmp_path / "c").exists() or not list((tmp_path / "c").iterdir())


def test_a_label_column_that_is_a_text_is_refused(tmp_path: Path, vocab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_parts, "_MOST_LABELS", 10)
    path = write_tsv(tmp_path / "t.tsv", some_rows())
    with pytest.raises(DataError, match="column 'first' holds more than 10 labels"):
        prepare_pairs([path], tmp_path / "c", vocab, PairColumns("second", "other", "first"))


def test_a_finished_corpus_is_left_alone(tmp_path: Path, vocab: Path) -> None:
    path = write_tsv(tmp_path / "t.tsv", some_rows())
    output = tmp_path / "c"

    def run(**more: Any) -> dict[str, Any]:
        return prepare_pairs([path], output, vocab, COLUMNS, **more)

    first = run(heldout=0.2)
    before = content(output)
    assert run(heldout=0.2) == {**first, "already_there": True, "seconds": pytest.approx(0, abs=60)}
    with pytest.raises(DataError, match=r"made from other inputs or with other settings \(heldout differs\)"):
        run(heldout=0.5)
    assert content(output) == before
    run(heldout=0.5, overwrite=True)
    assert content(output) != before
    text = tmp_path / "text.txt"
    text.write_text("The river runs.\nThe old bridge.\n")
    with pytest.raises(DataError, match="holds a corpus made from other inputs"):
        prepare([text], output, vocab, workers=0)
    with pytest.raises(DataError, match="holds labelled pairs, where documents are needed"):
        Corpus.open(output)


KILLED = """
import sys
import reader.prepare.pairs as p
from reader.prepare.pair_parts import PairColumns
import reader.prepare.pair_parts
reader.prepare.pair_parts._ROWS_AT_ONCE = 7
def hang(now):
    if now.stage == sys.argv[4]:
        print("here", flush=True)
        sys.stdin.read()
p.prepare_pairs([sys.argv[1]], sys.argv[2], sys.argv[3], PairColumns("first", "second", "kind"), heldout=0.2,
                shard_tokens=200, progress=hang)
"""


@pytest.mark.parametrize("stage", ["tokens", "shards"])
def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path: Path, vocab: Path, stage: str) -> None:
    path, output = write_tsv(tmp_path / "t.tsv", some_rows()), tmp_path / "c"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), str(output), str(vocab), stage],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    with pytest.raises(DataError, match="another preparation is writing there"):
        prepare_pairs([path], output, vocab, COLUMNS)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    with pytest.raises(DataError, match="not a finished corpus"):
        PairCorpus.open(output)
    prepare_pairs([path], output, vocab, COLUMNS, heldout=0.2, shard_tokens=200)
    prepare_pairs([path], tmp_path / "whole", vocab, COLUMNS, heldout=0.2, shard_tokens=200)
    assert content(output) == content(tmp_path / "whole")
    assert not (output / ".partial").exists()


def test_damaged_shards_are_refused(tmp_path: Path, vocab: Path) -> None:
    path = write_tsv(tmp_path / "t.tsv", some_rows())
    prepare_pairs([path], tmp_path / "c", vocab, COLUMNS)
    info = read_corpus_info(tmp_path / "c")
    info["labels"] = info["labels"][:2]
    (tmp_path / "c/corpus.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match="do not fit each other"):
        PairCorpus.open(tmp_path / "c")
    del info["labels"]
    (tmp_path / "c/corpus.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match="labels is missing"):
        PairCorpus.open(tmp_path / "c")


REAL = {
    "discourse/gum_pdtb_train.rels.gz": ("unit1_txt", "unit2_txt", "label", "en"),
    "discourse/gum_pdtb_dev.rels.gz": ("unit1_txt", "unit2_txt", "label", "en"),
    "discourse/discovery_style_mined_train.tsv.gz": ("sentence1", "sentence2", "label", "en"),
    "ir/wikiqa/dev.tsv.gz": ("question", "sentence", "label", "en"),
    "ir/dureader_query_title.tsv.gz": ("query", "title", "is_selected", "zh"),
}


@pytest.mark.parametrize("file", REAL)
def test_real_files_come_back(test_data: Path, tmp_path: Path, file: str) -> None:
    text_a, text_b, label, language = REAL[file]
    vocab = test_data / "vocab" / ("bert_uncased_en_vocab.txt" if language == "en" else "bert_base_zh_vocab.txt")
    summary = prepare_pairs([test_data / file], tmp_path / "c", vocab, PairColumns(text_a, text_b, label))
    lines = gzip.decompress((test_data / file).read_bytes()).decode("utf-8").split("\n")
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:] if line]
    usable = [(r[text_a], r[text_b], r[label]) for r in rows if r[text_a].strip() and r[text_b].strip()]
    assert summary["pairs"] == len(usable)
    assert sum(entry["count"] for entry in summary["skipped"].values()) == len(rows) - len(usable)
    assert pairs_of(tmp_path / "c")[::5] == expected(usable[::5], load_tokenizer(vocab))
