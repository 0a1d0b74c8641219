"""`ernie finetune --task`: what it stands for, and that a person's own options win."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from ernie_paddle.benchmarks.expand import expand_task
from ernie_paddle.cli.main import build_parser
from propeller.errors import UserError


def parse(words: list[str]) -> argparse.Namespace:
    return build_parser("finetune", words).parse_args(words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "CoLA").mkdir()
    for name in ("train.tsv", "dev.tsv.gz"):
        (tmp_path / "CoLA" / name).touch()
    return tmp_path


def test_a_benchmark_stands_for_its_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--task", "cola", "--data_dir", str(folder), "--size", "base", "--output", "o", "--lr", "1e-5"]
    parsed = parse(expand_task(given))
    assert (parsed.type, parsed.text_a, parsed.label, parsed.labels) == ("classification", "4", "2", ["0", "1"])
    assert (parsed.header, parsed.metric) == (False, "mcc")
    assert (parsed.train, parsed.dev) == (f"{folder}/CoLA/train.tsv", f"{folder}/CoLA/dev.tsv.gz")
    assert (parsed.batch_size, parsed.epochs, parsed.weight_decay, parsed.max_length) == (64, 3, 0.0, 128)
    assert parsed.lr == 1e-5  # a person's own option, not the recipe's 3e-5
    assert "recipe ernie2 for size base (ERNIE 2.0" in capsys.readouterr().err


def test_the_first_of_several_values_is_taken_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--task", "CoLA", "--data_dir", str(folder), "--size", "large", "--recipe", "bert", "--output", "o"]
    parsed = parse(expand_task(given))
    assert parsed.lr == 5e-5
    assert "tries several values of lr" in capsys.readouterr().err
    expand_task([*given, "--size", "bert_base_en"])
    assert "recipe bert for size base" in capsys.readouterr().err


def test_own_tables_need_no_folder() -> None:
    words = expand_task(["--task", "STS-B", "--train", "a.tsv", "--dev", "b.tsv"])
    assert words[:2] == ["--type", "regression"]
    assert words[-4:] == ["--train", "a.tsv", "--dev", "b.tsv"]


def test_tables_without_a_header(tmp_path: Path) -> None:
    """In the folder, and one's own."""
    (tmp_path / "lcqmc").mkdir()
    for name in ("train.txt", "dev.txt"):
        (tmp_path / "lcqmc" / name).write_text("盐\t盐\t1\n")
    for given in (["--data_dir", str(tmp_path)], ["--train", f"{tmp_path}/lcqmc/train.txt", "--dev", "b.tsv"]):
        words = expand_task(["--task", "LCQMC", *given, "--output", "o"])
        parsed = parse(words)
        assert (parsed.header, parsed.text_a, parsed.text_b, parsed.label) == (False, "1", "2", "3")
        assert parsed.train == f"{tmp_path}/lcqmc/train.txt"


def test_without_a_task_nothing_changes() -> None:
    assert expand_task(["--train", "a.tsv", "--lr"]) == ["--train", "a.tsv", "--lr"]


def test_mistakes(folder: Path) -> None:
    with pytest.raises(UserError, match=r"--task CoLA: give --data_dir, the folder that holds CoLA/ with train\.tsv"):
        expand_task(["--task", "CoLA"])
    with pytest.raises(UserError, match="RTE/ with"):
        expand_task(["--task", "glue/RTE"])
    with pytest.raises(UserError, match=r"MRPC: train\.tsv and dev\.tsv not found"):
        expand_task(["--task", "MRPC", "--data_dir", str(folder)])
    with pytest.raises(UserError, match="unknown size 'huge'; known: "):
        expand_task(["--task", "CoLA", "--data_dir", str(folder), "--size", "huge"])
