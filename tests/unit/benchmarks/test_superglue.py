"""SuperGLUE and SWAG as they are published: read by the options of their suites, and answered as the server wants."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.benchmarks.answer_files import Answered
from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.benchmarks.submission import WRITERS
from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.finetune.options import read_finetune_options
from ernie_paddle.finetune.run import with_settings
from ernie_paddle.finetune.task_type import TaskType, task_class
from helpers.superglue_files import write_superglue
from reader.tables.table import open_table
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

SUPERGLUE = load_suite("superglue").benchmarks
SWAG = load_suite("swag").benchmarks["SWAG"]


def texts_of(task: Benchmark, table: Path) -> Iterator[str]:
    return task_class(task.type).texts(table, task.options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_superglue(tmp_path_factory.mktemp("superglue"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz"
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,:-?@", '"', *letters, *(f"##{x}" for x in letters)]
    path.write_text("\n".join(pieces) + "\n")
    return load_tokenizer(path)


def task_of(benchmark: Benchmark, train: Path) -> tuple[TaskType, str]:
    """The task that the suite's options mean, and the format of its tables."""
    options = read_finetune_options({**benchmark.settings(), "train": train, "dev": "-", "output": "-"})
    options.max_length = 256
    return task_class(options.type).from_options(options), options.format


# Rows of four lines, and the numbers of their labels.
LABELS = {
    "BoolQ": [1, 0, 1, 0],
    "CB": [0, 1, 2, 0],
    "COPA": [0, 1, 0, 1],
    "MultiRC": [0, 1] * 8,
    "ReCoRD": [0, 0, 1, 1, 0, 0] * 4,
    "RTE": [1, 0, 1, 0],
    "WiC": [1, 0, 1, 0],
    "WSC": [1, 0, 1, 0],
}


@pytest.mark.parametrize("name", LABELS)
def test_published_layouts_are_read_and_scored(name: str, folder: Path, tokenizer: Tokenizer) -> None:
    benchmark = SUPERGLUE[name]
    train, dev = benchmark.tables(folder)
    task, form = task_of(benchmark, train)
    for path in (train, dev):
        data = task.read(path, tokenizer, labelled=True, strict=True, format=form)
        assert data.labels.tolist() == LABELS[name]  # type: ignore[attr-defined]
        assert "nearest" not in data.describe()
    right = np.eye(1 + max(LABELS[name]))[LABELS[name]]
    perfect = task.score({"logits": right}, data)
    assert [perfect[metric] for metric in benchmark.metrics] == [1.0] * len(benchmark.metrics)
    assert set(benchmark.metrics) <= set(task.baseline(data))


@pytest.mark.parametrize("name", SUPERGLUE)
def test_tests_are_read_without_labels(name: str, folder: Path, tokenizer: Tokenizer) -> None:
    benchmark = SUPERGLUE[name]
    task, _ = task_of(benchmark, benchmark.tables(folder)[0])
    for test, path in benchmark.tests(folder).items():
        assert path is not None, test
        options = dict(benchmark.test[test].options)
        form = options.pop("format", "auto")
        data = list(with_settings(task, options).stream(path, tokenizer, chunk_rows=7, format=form))
        assert sum(map(len, data)) == {test: len(LABELS[name]), "AX-b": 2, "AX-g": 1}[test]
        assert not any(part.problems for part in data)


def submitted(name: str, folder: Path, tmp_path: Path, answers: list[Mapping[str, Any]], test: str = "") -> list[Any]:
    """The lines of the file for these answers to the test's rows."""
    path, table = tmp_path / "answers.jsonl", SUPERGLUE[name].tests(folder)[test or name]
    assert table is not None
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    file, content = WRITERS["superglue"](Answered(SUPERGLUE[name], test or name, table, path))
    assert file == f"{test or name}.jsonl"
    return [json.loads(line) for line in content.splitlines()]


def predictions(*labels: str) -> list[Mapping[str, Any]]:
    return [{"line": line, "prediction": label} for line, label in enumerate(labels, 1)]


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("BoolQ", ("false", "true", "true", "false"), ["false", "true", "true", "false"]),
        ("CB", ("neutral", "entailment", "neutral", "neutral"), ["neutral", "entailment", "neutral", "neutral"]),
        ("COPA", ("0", "1", "1", "0"), [0, 1, 1, 0]),
        ("WiC", ("false", "true", "true", "false"), ["false", "true", "true", "false"]),
        ("WSC", ("false", "true", "true", "false"), ["False", "True", "True", "False"]),
    ],
)
def test_a_line_for_each_row(
    name: str, given: tuple[str, ...], wanted: list[object], folder: Path, tmp_path: Path
) -> None:
    lines = submitted(name, folder, tmp_path, predictions(*given))
    assert lines == [{"idx": idx, "label": label} for idx, label in enumerate(wanted)]


def test_the_diagnostic_sets_are_answered_by_the_model_for_rte(folder: Path, tmp_path: Path) -> None:
    lines = submitted("RTE", folder, tmp_path, predictions("entailment", "not_entailment"), "AX-b")
    assert lines == [{"idx": 0, "label": "entailment"}, {"idx": 1, "label": "not_entailment"}]


def test_multirc_keeps_its_nesting(folder: Path, tmp_path: Path) -> None:
    answers = [
        {"line": 1 + row // 4, "prediction": str(label)}
        for row, label in enumerate([1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    ]
    lines = submitted("MultiRC", folder, tmp_path, answers)
    assert len(lines) == 4
    questions = [
        {"idx": 2, "answers": [{"idx": 4, "label": 1}, {"idx": 5, "label": 1}]},
        {"idx": 3, "answers": [{"idx": 6, "label": 0}, {"idx": 7, "label": 0}]},
    ]
    assert lines[1] == {"idx": 1, "passage": {"questions": questions}}


def test_record_names_the_best_candidate_of_each_query(folder: Path, tmp_path: Path) -> None:
    shares = [0.1, 0.3, 0.2, 0.6, 0.1, 0.9] * 4
    answers = [{"line": 1 + row // 6, "prediction": "0", "p(0)": 1 - p, "p(1)": p} for row, p in enumerate(shares)]
    lines = submitted("ReCoRD", folder, tmp_path, answers)
    assert lines == [{"idx": idx, "label": ("Leo", "Bern")[idx % 2]} for idx in range(8)]


def test_rows_without_an_answer_get_the_commonest(folder: Path, tmp_path: Path) -> None:
    answers = [*predictions("true", "true", "false"), {"line": 4, "problem": "the text is empty"}]
    assert submitted("BoolQ", folder, tmp_path, answers)[3] == {"idx": 3, "label": "true"}


def test_a_line_of_many_rows_that_cannot_be_read_is_left_out(folder: Path, tmp_path: Path) -> None:
    data = write_superglue(tmp_path / "data", rows=2)
    table = data / "ReCoRD" / "test.jsonl"
    table.write_text(table.read_text().splitlines()[0] + "\nnot json\n")
    answers: list[Mapping[str, Any]] = [{"line": 1, "prediction": "0", "p(1)": p} for p in (0.2, 0.1, 0, 0, 0, 0.1)]
    lines = submitted("ReCoRD", data, tmp_path, [*answers, {"line": 2, "problem": "not valid JSON"}])
    assert lines == [{"idx": 0, "label": "Mia Stone"}, {"idx": 1, "label": "Bern"}]


def test_swag_as_published(tmp_path: Path, tokenizer: Tokenizer) -> None:
    head = ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3"
    row = '{},v{},7,A man sits. He,A man sits.,He,gold,sings.,"reads, slowly.",eats.,waits.'
    for name, labels in (("train", [2, 0]), ("val", [1]), ("test", [])):
        lines = [row.format(n, n) + f",{label}" for n, label in enumerate(labels)] or [row.format(0, 0)]
        (tmp_path / f"{name}.csv").write_text("\n".join([head + (",label" if labels else ""), *lines]) + "\n")
    train, dev = SWAG.tables(tmp_path)
    task, form = task_of(SWAG, train)
    data = task.read(train, tokenizer, labelled=True, strict=True, format=form)
    assert data.labels.tolist() == [2, 0]  # type: ignore[attr-defined]
    assert len(task.read(dev, tokenizer, labelled=True, strict=True)) == 1
    path = SWAG.tests(tmp_path)["SWAG"]
    assert path is not None
    assert len(task.read(path, tokenizer, labelled=False, strict=True)) == 1
    with open_table(path) as table:
        assert table.columns is not None
        assert table.columns[0] == ""


def test_every_size_that_a_paper_reports_has_a_recipe() -> None:
    for name in ("superglue", "swag"):
        suite = load_suite(name)
        for task in suite.benchmarks:
            assert {size: suite.settings(task, size)[0] for size in ("tiny", "base", "large")} == {
                "tiny": "ours",
                "large": "bert",
                "base": "on_losses_final" if name == "superglue" else "bert",
            }
        for row in suite.published:
            assert set(row.scores) == set(suite.benchmarks)
    settings = load_suite("swag").settings("SWAG", "large")[1]
    assert (settings["epochs"], settings["lr"], settings["batch_size"]) == (3, 2e-5, 16)


def test_a_passage_of_many_rows_counts_once_for_a_vocabulary(folder: Path) -> None:
    texts = list(texts_of(SUPERGLUE["MultiRC"], folder / "MultiRC" / "train.jsonl"))
    assert texts.count("The cat ran for fun. The dog slept.") == 1
    assert texts.count("Who ran? a dog") == 4
    assert len(texts) == 1 + 4 * 4
    choices = list(texts_of(SUPERGLUE["COPA"], folder / "COPA" / "train.jsonl"))
    assert choices[:4] == ["The street was wet.", "What was the cause of this?", "It had rained.", "It was noon."]
