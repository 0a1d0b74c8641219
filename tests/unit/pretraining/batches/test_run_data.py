"""Runs compare: whatever seed they train with, they are evaluated on the same masks, pairs and order of text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from ernie_paddle.pretraining.architecture import architecture
from ernie_paddle.pretraining.batches.run_data import open_heldout, training_data
from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.batches.step_reader import StepReader
from ernie_paddle.pretraining.recipe_files import load_recipe
from ernie_paddle.pretraining.schedule.plan import make_plan
from helpers.objective_corpora import Documents, make_vocab, write
from propeller.values import Arrays
from reader.tokenizers.vocab import SPECIALS

WORDS = 100
N_BATCHES = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """40 documents of six sentences, as training and as held-out text."""
    lengths = [[5 + (7 * d + s) % 6 for s in range(6)] for d in range(40)]
    documents = Documents(lengths, seed=3)
    tokens = np.random.default_rng(4).integers(WORDS, size=documents.n_tokens) + len(SPECIALS)
    path = tmp_path_factory.mktemp("run_data") / "corpus"
    return write(path, documents, make_vocab(WORDS + len(SPECIALS)), tokens.tolist())


def feeds_of(corpus: str, seed: int) -> tuple[Mapping[str, list[Arrays]], Mapping[str, list[Arrays]]]:
    """What a run with this seed is trained on, and what it is evaluated on: micro-batches by task."""
    recipe = load_recipe(
        "quickstart",
        [
            f"train.seed={seed}",
            "train.batch_tokens=512",
            "tasks={masks: {objectives: {knowledge_masking: {}}}, pairs: {objectives: {nsp: {}}}}",
            "schedule.steps_per_task=4",
        ],
        corpora=[corpus],
    )
    config = architecture(recipe, corpus, WORDS + len(SPECIALS), 0)
    plan = make_plan(recipe)
    trained = {name: training_data(recipe, each, config) for name, each in plan.trained.items()}

    def micro_batches(reader: StepReader) -> list[Arrays]:
        return [feeds for number in range(N_BATCHES) for feeds in reader.step(number).micro_batches]

    assert all(isinstance(data, TaskData) for data in trained.values())
    return (
        {name: micro_batches(data.open()) for name, data in trained.items() if isinstance(data, TaskData)},
        {name: micro_batches(reader) for name, reader in open_heldout(plan, config).items()},
    )


def test_held_out_feeds_are_the_same_in_runs_of_any_seed(corpus: str) -> None:
    _, first = feeds_of(corpus, seed=0)
    _, second = feeds_of(corpus, seed=12345)
    assert set(first) == set(second) == {"masks", "pairs"}
    for task, batches in first.items():
        assert len(batches) >= N_BATCHES
        for one, other in zip(batches, second[task], strict=True):
            assert set(one) == set(other)
            for name, array in one.items():
                np.testing.assert_array_equal(array, other[name], err_msg=f"{task}: {name}")


def test_training_feeds_are_others_with_another_seed(corpus: str) -> None:
    first, _ = feeds_of(corpus, seed=0)
    again, _ = feeds_of(corpus, seed=0)
    second, _ = feeds_of(corpus, seed=12345)
    for task, name in (("masks", "mlm_positions"), ("pairs", "nsp_labels")):
        one, same, other = (np.concatenate([feeds[name] for feeds in run[task]]) for run in (first, again, second))
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other), f"{task}: {name} does not depend on the seed"
