"""Every shipped recipe builds its Programs and takes steps, at the size of a toy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ernie_paddle.cli.main import main
from ernie_paddle.pretraining.architecture import architecture
from ernie_paddle.pretraining.dry_run import dry_run
from ernie_paddle.pretraining.recipe_files import load_recipe, recipe_names
from ernie_paddle.pretraining.run import Pretraining
from ernie_paddle.yaml_configs import configs_dir, read_yaml

TINY = [
    "arch.hidden_size=16", "arch.num_attention_heads=2", "arch.intermediate_size=32", "arch.num_hidden_layers=1",
    "arch.vocab_size=null", "arch.max_position_embeddings=64", "data.max_length=64",
    "train.precision.dtype=float32", "train.micro_batch_tokens=1024", "train.workers=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def pairs(manual_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Corpora of labelled pairs by the task that reads them."""
    folder = tmp_path_factory.mktemp("pairs")
    made = {}
    for task, labels in (("discourse_relation", ("but", "because")), ("ir_relevance", ("strong", "weak", "none"))):
        rows = [f"a name and value {i}\tthe list is {i * i}\t{labels[i % len(labels)]}" for i in range(60)]
        table = folder / f"{task}.tsv"
        table.write_text("\n".join(["a\tb\tlabel", *rows]) + "\n")
        made[task] = folder / task
        words = ["prepare-pairs", str(table), "--vocab", str(manual_corpus), "--output", str(made[task])]
        assert main([*words, "--text_a", "a", "--text_b", "b", "--label", "label", "--heldout", "0.1"]) == 0
    return made


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_runs_at_tiny_size(
    name: str, manual_corpus: Path, pairs: dict[str, Path], tmp_path: Path
) -> None:
    shipped = load_recipe(name)
    rows = shipped.train.batch_rows is not None
    sets = [*TINY, "train.batch_rows=8" if rows else "train.batch_tokens=512"]
    sets += [
        f"tasks.{task}.corpora=[{{path: {pairs[task]}}}]" for task, config in shipped.tasks.items() if config.corpora
    ]
    training = Pretraining(load_recipe(name, sets, [str(manual_corpus)]), tmp_path)
    assert training.schedule.total_steps >= 1000
    lines = dry_run(training)
    assert len(lines) == len(training.plan.trained) + 1
    assert "peak memory" in lines[-1]
    assert not any("nan" in line for line in lines)


@pytest.fixture(scope="module")
def pieces() -> dict[str, int]:
    """Size of the vocabulary of every corpus that a data file names, as its comment says; the quickstart makes its own.

    A corpus that two data files name has one vocabulary.
    """
    sizes: dict[str, int] = {}
    for file in sorted((configs_dir() / "data").glob("*.yaml")):
        comment = "".join(line for line in file.read_text().splitlines() if line.startswith("#"))
        found = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) pieces", comment)]
        if file.stem == "quickstart":
            assert not found
            continue
        assert len(found) == 1, f"{file.name} names {found} pieces"
        for corpus in read_yaml(file)["corpora"]:
            assert sizes.setdefault(corpus["path"], found[0]) == found[0], f"{file.name}: {corpus['path']}"
    return sizes


@pytest.mark.parametrize("name", recipe_names())
def test_the_vocabulary_of_a_recipe_s_corpus_fits_its_ids(name: str, pieces: dict[str, int]) -> None:
    """Tiny runs take whatever size the test's corpus has; here are the sizes that are shipped."""
    recipe = load_recipe(name)
    if recipe.arch["vocab_size"] is None:
        assert name == "quickstart"
        return
    (corpus,) = recipe.data.corpora
    config = architecture(recipe, corpus.path, pieces[corpus.path], 0)
    # Released embeddings have up to some dozens of rows more than the vocabulary has lines.
    assert 0 <= config.vocab_size - pieces[corpus.path] < 64
    # Pairs are prepared with the vocabulary of the text beside which they lie.
    for task in recipe.tasks.values():
        assert all(pairs.path.startswith(f"{corpus.path}_") for pairs in task.corpora)


def test_the_phases_of_bert_read_one_corpus() -> None:
    """The second phase continues the first, so it needs its vocabulary."""
    for size in ("base", "large"):
        first, second = load_recipe(f"bert_{size}_en"), load_recipe(f"bert_{size}_en_512")
        assert first.data.corpora == second.data.corpora
        assert (first.data.max_length, second.data.max_length) == (128, 512)
