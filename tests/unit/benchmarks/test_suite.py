"""The suites of configs/benchmarks: that every word in them means something, and that the recipes are the papers'."""

from __future__ import annotations

from typing import Any

import pytest

from ernie_paddle.benchmarks.benchmark import option_words
from ernie_paddle.benchmarks.report import MEAN
from ernie_paddle.benchmarks.suite import find_benchmark, load_suite, recipe_size, size_of, suite_names, variants
from ernie_paddle.cli.main import build_parser
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError

# ERNIE 2.0, Table 3 with its release: rows per card, cards, learning rate, epochs; base and large.
GLUE = {
    "CoLA": ((64, 1, 3e-5, 3), (32, 1, 3e-5, 5)),
    "SST-2": ((32, 8, 2e-5, 4), (8, 8, 2e-5, 4)),
    "MRPC": ((16, 2, 3e-5, 4), (8, 2, 3e-5, 4)),
    "STS-B": ((16, 8, 5e-5, 3), (16, 8, 5e-5, 3)),
    "QQP": ((32, 8, 3e-5, 3), (32, 8, 5e-5, 3)),
    "MNLI": ((64, 8, 3e-5, 3), (32, 8, 3e-5, 3)),
    "QNLI": ((32, 8, 2e-5, 4), (32, 8, 2e-5, 4)),
    "RTE": ((4, 1, 2e-5, 4), (16, 1, 3e-5, 5)),
    "WNLI": ((8, 1, 2e-5, 4), (8, 1, 2e-5, 4)),
}
# Table 4: rows per card, cards and rate of base and large, then epochs and length of both.
CHINESE = {
    "ChnSentiCorp": ((24, 1, 5e-5), (24, 1, 1e-5), 10, 256),
    "BQ": ((64, 1, 3e-5), (64, 1, 1.5e-5), 3, 128),
    "LCQMC": ((32, 1, 2e-5), (32, 1, 5e-6), 3, 128),
    "MSRA-NER": ((16, 1, 5e-5), (16, 1, 1e-5), 6, 256),
    "CMRC2018": ((16, 8, 3e-5), (8, 8, 3e-5), 2, 512),
    "DRCD": ((16, 8, 5e-5), (8, 8, 3e-5), 2, 512),
    "NLPCC-DBQA": ((8, 8, 2e-5), (8, 8, 1e-5), 3, 512),
}


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("task", GLUE)
def test_recipes_for_glue_are_those_of_ernie_2(task: str, size: str) -> None:
    rows, cards, lr, epochs = GLUE[task][size == "large"]
    name, found = load_suite("glue").settings(task, size)
    assert name == "ernie2"
    expected = {"batch_size": rows * cards, "lr": lr, "epochs": epochs, "warmup": 0.1, "weight_decay": 0.0}
    assert found == {**expected, "max_length": 512 if task == "WNLI" else 128}


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("task", CHINESE)
def test_recipes_for_chinese_are_those_of_ernie_2(task: str, size: str) -> None:
    *by_size, epochs, length = CHINESE[task]
    rows, cards, lr = by_size[size == "large"]  # type: ignore[misc]
    _, found = load_suite("chinese").settings(task, size)
    expected = {"batch_size": rows * cards, "lr": lr, "epochs": epochs, "max_length": length, "schedule": "constant"}
    assert {key: found[key] for key in expected} == expected
    assert found["weight_decay"] == (0 if task == "LCQMC" else 0.01)
    assert found.get("doc_stride") == (128 if task in ("CMRC2018", "DRCD") else None)


def test_other_recipes() -> None:
    def settings(suite: str, task: str, size: str, recipe: str) -> dict[str, Any]:
        return load_suite(suite).settings(task, size, recipe)[1]

    bert = settings("glue", "RTE", "base", "bert")
    assert (bert["batch_size"], bert["epochs"], bert["lr"]) == (32, 3, [5e-5, 4e-5, 3e-5, 2e-5])
    final = settings("glue", "QNLI", "base", "on_losses_final")
    assert len(variants(final)) == 4 * 2 * 3
    squad = [settings("squad", f"SQuAD-{version}", "large", "bert") for version in ("1.1", "2.0")]
    assert [(item["lr"], item["batch_size"], item["epochs"]) for item in squad] == [(5e-5, 32, 3), (5e-5, 48, 2)]
    assert {(item["max_length"], item["doc_stride"]) for item in squad} == {(384, 128)}
    ner = settings("ner", "CoNLL-2003", "base", "ernie_m")
    assert (ner["lr"], ner["batch_size"], ner["epochs"], ner["layer_decay"]) == (4e-4, 8, 10, 0.8)


@pytest.mark.parametrize("name", suite_names())
def test_all_words_are_options_of_finetune(name: str) -> None:
    suite = load_suite(name)
    files = ["--train", "a", "--dev", "b", "--output", "c"]
    for benchmark in suite.benchmarks.values():
        sizes = {(recipe, size) for recipe, book in suite.recipes.items() for size in book.sizes}
        for recipe, size in sorted(sizes):
            found = suite.recipes[recipe].settings(benchmark.name, size)
            for options in variants(found) if found else ():
                # Exits where a word is unknown or a value unusable.
                parsed = build_parser(
                    "finetune", words := [*benchmark.arguments(), *option_words(options), *files]
                ).parse_args(words)
                assert parsed.type == benchmark.type
                assert parsed.metric == benchmark.metrics[0]
        for size in ("tiny", "small", "base", "large"):
            suite.settings(benchmark.name, size)
    for row in suite.published:
        assert row.size in ("base", "large")
        tests = {test for benchmark in suite.benchmarks.values() for test in benchmark.test}
        assert row.scores.keys() <= suite.benchmarks.keys() | tests
        for task, scores in row.scores.items():
            for metric, value in scores.items():
                if task in suite.benchmarks:
                    assert metric.partition(" ")[0] in [*suite.benchmarks[task].metrics, MEAN]
                assert 0 < value <= 100


def test_a_few_published_figures() -> None:
    rows = {(row.model, row.split): row for row in load_suite("glue").published}
    assert rows["ERNIE 2.0 base", "test"].average == 80.6
    assert rows["ERNIE 2.0 large", "test"].scores["MRPC"] == {"f1": 90.2, "accuracy": 87.4}
    assert rows["BERT base", "test"].scores["CoLA"] == {"mcc": 52.1}


def test_names_and_sizes() -> None:
    assert find_benchmark("sst2", "--task")[1] is load_suite("glue").benchmarks["SST-2"]
    assert find_benchmark("squad/squad-1.1", "--task")[1].name == "SQuAD-1.1"
    with pytest.raises(UserError, match="did you mean 'SQuAD-"):
        find_benchmark("SQuAD", "--task")
    with pytest.raises(UserError, match="did you mean 'CoLA'"):
        find_benchmark("colla", "--task")
    with pytest.raises(UserError, match="say which: glue/RTE, superglue/RTE"):
        find_benchmark("rte", "--task")
    with pytest.raises(UserError, match="the recipe ours has no settings for size base; sizes: tiny, small"):
        load_suite("glue").settings("CoLA", "base", "ours")
    with pytest.raises(UserError, match="unknown recipe 'brt'; did you mean 'bert'"):
        load_suite("glue").settings("CoLA", "base", "brt")
    with pytest.raises(UserError, match="DuReader: the recipe ernie2 has no settings for size base; sizes: none"):
        load_suite("chinese").settings("DuReader", "base", "ernie2")
    assert [task.name for task in load_suite("glue").find(["rte", "RTE", "cola"], "--tasks")] == ["RTE", "CoLA"]
    for hidden, size in ((1024, "large"), (768, "base"), (256, "small"), (128, "tiny")):
        assert size_of(ErnieConfig(vocab_size=100, hidden_size=hidden, num_attention_heads=4)) == size
    for name, size in (("tiny", "tiny"), ("large", "large"), ("ernie2_mini_en", "tiny"), ("bert_large_en", "large")):
        assert recipe_size(name) == size
