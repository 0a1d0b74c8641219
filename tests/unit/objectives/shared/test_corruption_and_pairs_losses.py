"""The objectives over pairs and over corrupted text: their losses by NumPy, and that their data does not depend on
how many processes share it.

Shape suffixes: B rows, T tokens, H hidden, K classes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import propeller  # noqa: F401  (applies the process settings before Paddle is imported)
from ernie_paddle.models.inputs import encoder_feeds
from helpers.objective_corpora import FIRST, Documents, in_memory, make_vocab, step_reader, write

# isort: split
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.batches.step_reader import StepBatch
from ernie_paddle.pretraining.model import PretrainingModel, build_task
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner

DOCS = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4], [8, 8], [5], [2, 9, 4]] * 4, 3)
LENGTH = 40
PAIRS = {"sentence_distance": 3, "adjacent_sentence": 3, "sentence_ordering": 2}
"""Classes of the objectives over pairs."""
ALL = PAIRS | {"sentence_corruption": 2, "token_corruption": 2, "trigram_shuffling": 6}


@pytest.mark.parametrize("name", ALL)
def test_losses_are_those_of_numpy(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "corpus", DOCS, make_vocab(FIRST + DOCS.n_tokens))
    settings = {name: {"weight": 0.5}, "mlm": {}}
    reader = TaskData("test", settings, [(path, 1.0)], LENGTH, batch_rows=16, min_tokens=1, seed=1).open()
    config = ErnieConfig(
        vocab_size=reader.data.vocab.size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=LENGTH,
        type_vocab_size=2, initializer_range=0.3,
    )  # fmt: skip
    task = build_task("test", reader.objectives, config, max_length=LENGTH)
    # The same layers, but handing out what the losses were computed from.
    encode = ProgramSpec(
        "encode",
        task.inputs,
        lambda: PretrainingModel(config, reader.objectives),
        lambda model, feeds: {
            "hidden": model.encoder(**encoder_feeds(feeds)).hidden_BTH,
            "all": sum(v.sum() for v in feeds.values()),
        },
    )
    learner = Learner(OptimizerConfig(), seed=0)
    learner.add(task)
    learner.add(encode)
    (feeds,) = reader.step(0).micro_batches
    measured = learner.evaluate("test", [feeds])
    vectors, p = learner.infer("encode", feeds)["hidden"].astype(np.float64), learner.parameters()
    if feeds[f"{name}_labels"].ndim == 1:
        vectors = np.tanh(vectors[:, 0] @ p["ernie.pooler.dense.weight"] + p["ernie.pooler.dense.bias"])
    logits = vectors @ p[f"cls.{name}.weight"] + p[f"cls.{name}.bias"]
    assert logits.shape[-1] == ALL[name]
    losses, hits = [], []
    for at, label in np.ndenumerate(feeds[f"{name}_labels"]):
        if label != -100:
            losses.append(np.log(np.exp(logits[at]).sum()) - logits[at][label])
            hits.append(logits[at].argmax() == label)
    assert measured[name] == pytest.approx(np.mean(losses), abs=2e-5)
    assert measured[f"{name}_accuracy"] == pytest.approx(np.mean(hits), abs=1e-6)
    assert measured[f"{name}_count"] == len(losses)
    assert measured["loss"] == pytest.approx(0.5 * measured[name] + measured["mlm"], abs=5e-5)


def _rows(step: StepBatch) -> Counter[tuple[Any, ...]]:
    """The rows of a step with their labels, without padding and without the rows of blank micro-batches."""
    found: Counter[tuple[Any, ...]] = Counter()
    for feeds in step.micro_batches:
        if step.rows == 0 or (feeds["mlm_labels"] == -100).all():
            continue
        for b, real in enumerate(feeds["attention_mask"].astype(bool)):
            arrays = [feeds[key][b] for key in ("input_ids", "segment_ids", *(key for key in feeds if _labels(key)))]
            found[tuple(tuple(a[real].tolist()) if a.ndim else int(a) for a in arrays)] += 1
    return found


def _labels(key: str) -> bool:
    return key.endswith("_labels") and key != "mlm_labels"


@pytest.mark.parametrize("pair", PAIRS)
def test_ranks_and_micro_batches_share_the_rows(pair: str) -> None:
    data = in_memory(DOCS, max_length=LENGTH, overhead=3)
    names = ["trigram_shuffling", "sentence_corruption", "token_corruption", "mlm", pair]
    settings: dict[str, dict[str, Any]] = {name: {} for name in names}
    whole = step_reader(data, settings, overhead=3)
    cut = step_reader(data, settings, overhead=3, micro_batch_tokens=90)
    for number in (0, 3, 1000):
        expected = _rows(whole.step(number))
        assert expected.total() == 8
        assert len(cut.step(number).micro_batches) > 2
        assert _rows(cut.step(number)) == expected
        for world in (3, 11):
            steps = [whole.step(number, rank, world) for rank in range(world)]
            assert sum((_rows(step) for step in steps), Counter()) == expected
