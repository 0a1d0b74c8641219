"""Recipes: all shipped ones load, and every mistake is named with its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ernie_paddle.pretraining.recipe_files import load_recipe, recipe_names
from ernie_paddle.pretraining.schedule.plan import make_plan
from propeller.errors import UserError

OWN = {"quickstart", "small_en", "mini_en", "mini_en_128"}
"""Recipes that are of no paper."""


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
        ("schedule.stages=[{nosuch: 5}]", ["kind: table and stages need each other"]),
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


@dataclass(frozen=True)
class Published:
    """What a paper says of a pre-training run; `model` is layers, hidden size, heads, activation and ids of words.

    `batch` is one of rows or tokens, `per` what has a warm-up of its own, `steps` the steps of each stage, `tasks` the
    objectives of each task with the settings that are not the usual ones.
    """

    model: tuple[int, int, int, str, int]
    batch: tuple[str, int]
    length: int
    peak: float
    warmup: int
    per: str
    decay: str
    betas: tuple[float, float]
    kind: str
    steps: list[int]
    tasks: list[dict[str, dict[str, Any]]]


def _bert(model: tuple[int, int, int, str, int], length: int, steps: int) -> Published:
    """Appendix A.2: 256 rows, 1e-4, betas .9 and .999, 10,000 steps of warm-up, linear decay, MLM and NSP."""
    return Published(
        model, ("rows", 256), length, 1e-4, 10_000, "task", "linear", (0.9, 0.999), "sum", [steps],
        [{"mlm": {}, "nsp": {}}],
    )  # fmt: skip


def _ernie2(model: tuple[int, int, int, str, int], peak: float, others: list[str]) -> Published:
    """Pre-training Settings: 393,216 tokens, betas .9 and .98, noam, 4,000 steps of warm-up for every task.

    The stages: "On Losses", appendix A, with five tasks of 50,000 steps (Table 7 has four): sixths of the steps.
    """
    tasks: list[dict[str, dict[str, Any]]] = [{"knowledge_masking": {}}]
    tasks += [{"knowledge_masking": {}, name: {}} for name in others]
    return Published(
        model, ("tokens", 393_216), 512, peak, 4_000, "task", "noam", (0.9, 0.98), "cmtl",
        [16_667, 33_333, 50_000, 66_667, 83_333], tasks,
    )  # fmt: skip


BASE, LARGE = (12, 768, 12, "gelu", 30_522), (24, 1024, 16, "gelu", 30_522)
BASE_ZH, LARGE_ZH = (12, 768, 12, "relu", 18_000), (24, 1024, 16, "relu", 12_800)
ENGLISH = ["capitalization", "token_document", "sentence_reordering", "discourse_relation"]
CHINESE = ["sentence_reordering", "sentence_distance", "discourse_relation", "ir_relevance"]
# On Losses, sections 3.1 and 3.6: 128 rows of 128 tokens, so that 10 billion tokens are 610,352 steps.
BASELINE = Published(
    BASE, ("rows", 128), 128, 1e-4, 6_104, "run", "linear", (0.9, 0.999), "sum", [610_352], [{"mlm": {}}]
)
AUXILIARY = [
    "tf", "tf_idf", "sbo", "trigram_shuffling", "token_corruption", "capitalization", "token_length", "nsp",
    "adjacent_sentence", "sentence_ordering", "sentence_distance", "sentence_corruption", "quick_thoughts", "fast_sent",
]  # fmt: skip
# ERNIE-GEN, section 4.1.
GENERATION = Published(
    BASE, ("tokens", 196_608), 512, 5e-5, 4_000, "run", "linear", (0.9, 0.999), "sum", [400_000], [{"multi_flow": {}}]
)
BEST = replace(BASELINE, tasks=[{"mlm": {}}, {"quick_thoughts": {}}, {"sentence_ordering": {}}, {"tf_idf": {}}])
# The k-th of n tasks enters with (k + 1) / (n + 1) of its share, and has 1 / (n + 1) of it in each later stage.
CMTL = [round(610_352 * share) for share in (2 / 20, 4 / 20, 6 / 20, 8 / 20)]
CMTL_PLUS = [round(610_352 * share) for share in (2 / 12, 4 / 12, 6 / 12)]

PUBLISHED = {
    "bert_base_en": _bert(BASE, 128, 900_000),
    "bert_base_en_512": _bert(BASE, 512, 100_000),
    "bert_large_en": _bert(LARGE, 128, 900_000),
    "bert_large_en_512": _bert(LARGE, 512, 100_000),
    # Its papers give the model, the stages and the length (ERNIE 2.0, "Results on Chinese Tasks"); the rest is BERT's.
    "ernie1_base_zh": Published(
        BASE_ZH, ("tokens", 256 * 512), 128, 1e-4, 10_000, "run", "linear", (0.9, 0.999), "sequential",
        [333_333, 333_333, 333_333],
        [{"knowledge_masking": {unit: int(unit == only) for unit in ("basic", "phrase", "entity")}}
         for only in ("basic", "phrase", "entity")],
    ),
    "ernie2_base_en": _ernie2(BASE, 5e-5, ENGLISH),
    "ernie2_base_zh": _ernie2(BASE_ZH, 1.28e-4, CHINESE),
    "ernie2_large_en": _ernie2(LARGE, 5e-5, ENGLISH),
    "ernie2_large_zh": _ernie2(LARGE_ZH, 1.28e-4, CHINESE),
    "ernie2_methods": replace(
        _ernie2(BASE, 5e-5, []), steps=[20_000, 40_000, 60_000, 80_000],
        tasks=[{name: {}} for name in ("knowledge_masking", *ENGLISH[:3])],
    ),
    "ernie_gen_base_en": GENERATION,
    "ernie_gen_large_en": replace(GENERATION, model=LARGE, steps=[450_000]),
    "on_losses_mlm": BASELINE,
    **{f"on_losses_{name}": replace(BASELINE, tasks=[{"mlm": {}}, {name: {}}]) for name in AUXILIARY},
    "on_losses_capitalization": replace(BASELINE, tasks=[{"mlm": {}}, {"capitalization": {"of": "token"}}]),
    "on_losses_sum": BEST,
    "on_losses_incremental": replace(BEST, kind="incremental", steps=[152_588] * 4),
    "on_losses_alternating": replace(BEST, kind="alternating"),
    "on_losses_alternating_plus": replace(BEST, kind="alternating_plus"),
    "on_losses_cmtl": replace(BEST, kind="cmtl", steps=CMTL),
    "on_losses_cmtl_plus": replace(BEST, kind="cmtl_plus", steps=CMTL_PLUS),
    # Section 4.4: 32 billion tokens, 1,953,125 steps.
    "on_losses_final": replace(
        BEST, kind="cmtl_plus", warmup=19_531, steps=[round(1_953_125 * share) for share in (2 / 12, 4 / 12, 6 / 12)]
    ),
}  # fmt: skip


def test_the_published_recipes_are_all_there() -> None:
    assert set(PUBLISHED) == set(recipe_names()) - OWN


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_what_its_paper_says(name: str) -> None:
    paper, recipe = PUBLISHED[name], load_recipe(name)
    train, rate, model = recipe.train, recipe.train.learning_rate, recipe.arch
    sizes = ("num_hidden_layers", "hidden_size", "num_attention_heads", "hidden_act", "vocab_size")
    assert tuple(model[key] for key in sizes) == paper.model
    assert model["intermediate_size"] == 4 * model["hidden_size"]
    assert (model["hidden_dropout_prob"], model["attention_probs_dropout_prob"]) == (0.1, 0.1)
    of, size = paper.batch
    assert {"rows": train.batch_rows, "tokens": train.batch_tokens} == {"rows": None, "tokens": None, of: size}
    assert recipe.data.max_length == paper.length
    assert (rate.peak, rate.warmup_steps, rate.per, rate.kind) == (paper.peak, paper.warmup, paper.per, paper.decay)
    # The two phases of BERT share one decay.
    assert rate.total_steps == (1_000_000 if name.startswith("bert") else None)
    assert tuple(train.optimizer.betas) == paper.betas
    assert train.optimizer.weight_decay == 0.01
    assert train.precision.dtype == "float16"
    assert [task.objectives for task in recipe.tasks.values()] == paper.tasks
    assert recipe.schedule.kind == paper.kind
    stages = make_plan(recipe).schedule.stages
    # Each amount of a stage is rounded for itself.
    assert [stage.total for stage in stages] == pytest.approx(paper.steps, rel=0, abs=len(paper.tasks))


def test_tasks_that_the_model_tells_apart_have_ids_of_their_own() -> None:
    """Also the same id in the sizes and languages of ERNIE 2.0, whose fine-tuning names it."""
    ernie2: dict[str, set[int]] = {}
    for name in PUBLISHED:
        recipe = load_recipe(name)
        ids = [task.task_id for task in recipe.tasks.values()]
        if recipe.arch["use_task_id"]:
            assert len(set(ids)) == len(ids), name
        if name.startswith("ernie2"):
            for task, config in recipe.tasks.items():
                ernie2.setdefault(task, set()).add(config.task_id)
    assert all(len(ids) == 1 for ids in ernie2.values()), ernie2


@pytest.mark.parametrize(
    ("kind", "stages"),
    [
        ("cmtl", [[20, 0, 0, 0], [10, 30, 0, 0], [10, 10, 40, 0], [10, 10, 10, 50]]),
        ("multi_task", [[50, 50, 50, 50]]),
        ("sequential", [[50, 0, 0, 0], [0, 50, 0, 0], [0, 0, 50, 0], [0, 0, 0, 50]]),
    ],
)
def test_the_three_methods_of_table_7(kind: str, stages: list[list[int]]) -> None:
    plan = make_plan(load_recipe("ernie2_methods", [f"schedule.kind={kind}"]))
    assert [[steps / 1000 for steps in stage.steps] for stage in plan.schedule.stages] == stages
