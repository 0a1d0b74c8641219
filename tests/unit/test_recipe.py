"""Recipes: all shipped ones load, and every mistake is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ernie_paddle.recipe import load_recipe, recipe_names
from propeller.errors import UserError


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_loads_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    import yaml

    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    copy = tmp_path / f"{name}.yaml"
    copy.write_text(yaml.safe_dump(recipe.to_dict()))
    assert load_recipe(str(copy)) == recipe


def test_overrides_and_corpora_replace_single_values() -> None:
    recipe = load_recipe(
        "small_en", ["train.seed=7", "train.learning_rate.peak=2e-4", "arch.hidden_size=64"], corpora=["a", "b"]
    )
    assert recipe.train.seed == 7
    assert recipe.train.learning_rate.peak == 2e-4
    assert recipe.train.learning_rate.kind == "linear"
    assert recipe.arch["hidden_size"] == 64
    assert load_recipe("small_en", ["arch.hidden_size=48", "arch=tiny"]).arch == {
        **load_recipe("small_en", ["arch=tiny"]).arch,
        "hidden_size": 48,
    }
    assert [corpus.path for corpus in recipe.data.corpora] == ["a", "b"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.batch_tokns=5", ["small_en.yaml.train", "'batch_tokns'", "did you mean 'batch_tokens'"]),
        ("trian.seed=5", ["'trian'", "did you mean 'train'"]),
        ("train.seed", ["--set train.seed", "section.key=value"]),
        ("train.seed=x", ["train.seed", "expected int"]),
        ("train.batch_rows=8", ["exactly one of batch_tokens and batch_rows"]),
        ("train.checkpoint_every=0", ["checkpoint_every must be at least 1"]),
        ("schedule.kind=cmlt", ["schedule.kind"]),
        ("schedule.stages=[{nosuch: 5}]", ["kind: table needs stages"]),
        ("data.corpora=[]", ["no data"]),
        ("arch=nosuch", ["unknown arch configuration 'nosuch'"]),
        ("train.workers=-1", ["workers must be at least 0, found -1"]),
        ("train.micro_batch_tokens=-5", ["micro_batch_tokens must be at least 1"]),
        ("data.bin_width=0", ["bin_width must be at least 1"]),
        ("tasks.knowledge_masking.task_id=-1", ["task_id must be at least 0"]),
        ("name.x=1", ["'name' is not a section"]),
    ],
)
def test_a_wrong_override_is_named(override: str, words: list[str]) -> None:
    overrides = ["name=small_en", override] if override.startswith("name") else [override]
    with pytest.raises(UserError) as caught:
        load_recipe("small_en", overrides)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", ["mine.yaml:", "not valid YAML"]),
        ("- 1", ["mine.yaml", "expected a mapping"]),
        (
            "arch: ernie2_bas_en\ndata: english\ntrain: small",
            ["arch configuration", "'ernie2_base_en'"],
        ),
        ("arch: tiny\ndata: english\ntrain: small\ntasks: {}\nschedule: {steps_per_task: 3}", ["tasks is empty"]),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(str(path))
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'ernie2_base_en'"):
        load_recipe("ernie2_bas_en")
    with pytest.raises(UserError, match="no such file"):
        load_recipe("nowhere.yaml")
