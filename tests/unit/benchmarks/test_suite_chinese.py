"""The Chinese tasks' files as their makers publish them, and as ERNIE's release has them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.benchmarks.plan import SuitePlan, TaskPlan
from ernie_paddle.benchmarks.starting import StartingPoint
from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.benchmarks.vocabulary import train_vocabulary
from ernie_paddle.finetune.options import read_finetune_options
from ernie_paddle.finetune.task_type import TaskType, task_class, task_from_dict
from propeller.errors import UserError
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

CHINESE = load_suite("chinese").benchmarks
XNLI, MSRA = CHINESE["XNLI"], CHINESE["MSRA-NER"]
HEADER = (
    "language gold_label sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse sentence1 "
    "sentence2 promptID pairID genre label1 label2 label3 label4 label5 sentence1_tokenized sentence2_tokenized match"
)


def texts_of(task: Benchmark, table: Path) -> Iterator[str]:
    return task_class(task.type).texts(table, task.options)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"他在北京。海里有盐"]) + "\n")
    return load_tokenizer(path)


def task_of(benchmark: Benchmark, train: Path) -> TaskType:
    options = read_finetune_options({**benchmark.settings(), "train": train, "dev": "-", "output": "-"})
    options.max_length = 32
    task = task_class(options.type).from_options(options)
    # As `ernie evaluate` and exported models have it.
    return task_from_dict(task.to_dict(), "task.json")


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def xnli_row(language: str, label: str, premise: str, hypothesis: str) -> str:
    values = [language, label, "", "", "", "", premise, hypothesis, "1", "2", "travel", *[label] * 5, "", "", "True"]
    return "\t".join(values)


@pytest.mark.parametrize("inside", ["", "xnli"])
def test_xnli_as_published(tmp_path: Path, tokenizer: Tokenizer, inside: str) -> None:
    folder = tmp_path / inside
    train = write(
        folder / "XNLI-MT-1.0" / "multinli" / "multinli.train.zh.tsv",
        "premise\thypo\tlabel",
        "海 里 有 盐 。\t海 里 有 盐\tentailment",
        "他 在 海 里 。\t他 在 北京 。\tcontradictory",
    )
    rows = [
        xnli_row("ar", "entailment", "a", "b"),
        xnli_row("zh", "neutral", "他在北京。", "他在海里。"),
        xnli_row("vi", "neutral", "c", "d"),
    ]
    dev = write(folder / "XNLI-1.0" / "xnli.dev.tsv", HEADER.replace(" ", "\t"), *rows)
    test = write(folder / "XNLI-1.0" / "xnli.test.tsv", HEADER.replace(" ", "\t"), *rows[1:])
    assert XNLI.tables(tmp_path) == (train, dev)
    assert XNLI.more_dev(tmp_path) == {"test": test}
    task = task_of(XNLI, train)
    pieces, segments, labels = task.read(train, tokenizer, labelled=True, strict=True).content()
    assert labels.tolist() == [1, 0]
    found: Any = task.read(dev, tokenizer, labelled=True, strict=True)
    assert found.lines == [3]
    assert found.describe() == "1 rows (2 skipped: language is not zh)"
    pieces, segments, labels = found.content()
    wanted = ["[CLS]", *"他在北京。", "[SEP]", *"他在海里。", "[SEP]"]
    assert pieces.tolist() == list(map(tokenizer.vocab.id, wanted))
    assert segments.tolist() == [0] * 7 + [1] * 6
    assert labels.tolist() == [2]
    assert list(texts_of(XNLI, dev)) == ["他在北京。", "他在海里。"]


def test_xnli_as_released(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = ["text_a\ttext_b\tlabel", "海里有盐。\t海里有盐\tentailment"]
    train, dev = (write(tmp_path / "xnli" / name, *rows) for name in ("train.tsv", "dev.tsv"))
    assert XNLI.tables(tmp_path) == (train, dev)
    data = task_of(XNLI, train).read(dev, tokenizer, labelled=True, strict=True)
    assert data.describe() == "1 rows (taken whole: no column language)"


def test_msra_ner_in_both_layouts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    text, tags = "他在北京。", ["O", "O", "B-LOC", "I-LOC", "O"]
    columns = write(
        tmp_path / "msra_ner" / "msra_train_bio.txt",
        *(f"{token}\t{tag}" for token, tag in zip(text, tags, strict=True)),
        "",
        "海\tO",
        "",
    )
    with pytest.raises(
        UserError,
        match=r"dev.tsv or msra_dev_bio.txt not found; .* last tenth of its training sentences to msra_dev_bio.txt$",
    ):
        MSRA.tables(tmp_path)
    table = write(tmp_path / "msra_ner" / "dev.tsv", "text_a\tlabel", "\x02".join(text) + "\t" + "\x02".join(tags))
    assert MSRA.tables(tmp_path) == (columns, table)
    for train in (columns, table):
        task: Any = task_of(MSRA, train)
        assert task.labels == ["O", "B-LOC", "I-LOC"]
        found = [task.read(path, tokenizer, labelled=True, strict=True) for path in (columns, table)]
        assert [data.tokens for data in found] == [[list(text), ["海"]], [list(text)]]
        assert found[0].labels[: len(text) + 2].tolist() == found[1].labels.tolist()
    assert list(texts_of(MSRA, columns)) == [" ".join(text), "海"]


@pytest.mark.parametrize("name", ["LCQMC", "BQ"])
@pytest.mark.parametrize("ending", ["tsv", "txt"])
@pytest.mark.parametrize("header", [True, False])
def test_pairs_with_and_without_a_header(
    tmp_path: Path, tokenizer: Tokenizer, name: str, ending: str, header: bool
) -> None:
    """The first row counts where it names no columns, even if its two texts are the same."""
    rows = ["海里有盐\t海里有盐\t1", "海里有盐\t他在北京\t0"]
    lines = ["text_a\ttext_b\tlabel", *rows] if header else rows
    benchmark = CHINESE[name]
    folder = tmp_path / benchmark.folders[-1]
    train, dev = (write(folder / f"{part}.{ending}", *lines) for part in ("train", "dev"))
    assert benchmark.tables(tmp_path) == (train, dev)
    found = benchmark.as_in(train)
    data = task_of(found, train).read(dev, tokenizer, labelled=True, strict=True)
    pieces, _, labels = data.content()
    assert labels.tolist() == [1, 0]
    wanted = ["[CLS]", *"海里有盐", "[SEP]", *"海里有盐", "[SEP]", "[CLS]", *"海里有盐", "[SEP]", *"他在北京", "[SEP]"]
    assert pieces.tolist() == list(map(tokenizer.vocab.id, wanted))
    assert list(texts_of(found, train)) == ["海里有盐", "海里有盐", "他在北京"]


def test_a_suite_reads_tables_without_a_header(tmp_path: Path) -> None:
    """Its runs and its vocabulary."""
    for part in ("train", "dev"):
        write(tmp_path / "lcqmc" / f"{part}.txt", *["海里有盐\t他在北京\t0"] * 5)
    lcqmc, output = CHINESE["LCQMC"], tmp_path / "out"
    start = StartingPoint({}, "sha256:0", "tiny", "a model", False)
    plan = SuitePlan([TaskPlan(lcqmc, "ours", [{}], range(1))], tmp_path, output, start)
    options = plan.groups[0].jobs[0].arguments()["options"]
    assert (options["header"], options["text_b"]) == (False, "2")
    vocabulary = load_tokenizer(train_vocabulary(output, [lcqmc], tmp_path, "tiny"))
    assert vocabulary.encode_batch(["海里有盐", "他在北京"]).ids.min() > vocabulary.vocab.id("[UNK]")


def test_questions_without_a_header_are_their_groups(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = ["他在北京\t他在海里\t0", "他在北京\t他在北京\t1", "海里有盐\t有\t1", "海里有盐\t在\t0"]
    train, dev = (write(tmp_path / "nlpcc-dbqa" / f"{part}.txt", *rows) for part in ("train", "dev"))
    benchmark = CHINESE["NLPCC-DBQA"]
    assert benchmark.tables(tmp_path) == (train, dev)
    task = task_of(benchmark.as_in(train), train)
    data = task.read(dev, tokenizer, labelled=True, strict=True)
    # The right answer comes second to the first question, and first to the other.
    logits = np.array([[0, 3], [0, 2], [0, 1], [0, 0]], np.float32)
    assert task.score({"logits": logits}, data)["mrr"] == (1 / 2 + 1) / 2


def test_a_table_that_says_nothing_keeps_the_usual_columns(tmp_path: Path) -> None:
    lcqmc = CHINESE["LCQMC"]
    tables = [tmp_path / "nowhere.tsv", tmp_path / "empty.tsv", tmp_path / "utf16.tsv"]
    tables[1].touch()
    tables[2].write_bytes("海\t里\t1\n".encode("utf-16"))
    assert all(lcqmc.as_in(table) is lcqmc for table in tables)
    assert XNLI.as_in(write(tmp_path / "xnli.tsv", "a\tb\tneutral")) is XNLI


def test_dureader_as_published(tmp_path: Path, tokenizer: Tokenizer) -> None:
    words = {"segmented_paragraphs": [["海里", "有", "盐"]], "most_related_para": 0}
    record = {"question_id": 1, "question": "海里有", "documents": [words], "answers": ["盐。"]}
    record |= {"answer_spans": [[2, 2]], "answer_docs": [0], "fake_answers": ["盐"]}
    line = json.dumps(record, ensure_ascii=False)
    train, dev = (write(tmp_path / "dureader" / f"search.{name}.json", line) for name in ("train", "dev"))
    benchmark = CHINESE["DuReader"]
    assert benchmark.tables(tmp_path) == (train, dev)
    options = read_finetune_options({**benchmark.settings(), "train": train, "dev": dev, "output": "-"})
    options.max_length, options.max_query_length = 32, 8
    data: Any = task_class(options.type).from_options(options).read(dev, tokenizer, labelled=True, strict=True)
    assert (data.starts.tolist(), data.ends.tolist()) == ([8], [8])
    assert list(texts_of(benchmark, train)) == ["海里有", "海里有盐"]


def test_real_rows(tmp_path: Path, test_data: Path) -> None:
    tokenizer = load_tokenizer(test_data / "vocab" / "bert_uncased_en_vocab.txt")
    with tarfile.open(test_data / "format_samples.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    train, dev = XNLI.tables(tmp_path / "format_samples")
    test = XNLI.more_dev(tmp_path / "format_samples")["test"]
    task = task_of(XNLI, train)
    assert task.read(train, tokenizer, labelled=True, strict=True).describe().startswith("4 rows (taken whole")
    for table in (dev, test):
        assert task.read(table, tokenizer, labelled=True, strict=True).describe().startswith("1 rows (14 skipped")
    published = MSRA.more_dev(tmp_path / "format_samples")["test"]
    data: Any = task_of(MSRA, published).read(published, tokenizer, labelled=True, strict=True)
    assert "".join(data.tokens[0]).startswith("中共中央致")
