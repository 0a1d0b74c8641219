"""The losses of the first objectives, recomputed with NumPy from the encoder's output.

Shape suffixes: B rows, T tokens, H hidden, M masked positions, V vocabulary, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import erf

import propeller  # noqa: F401  (applies the process settings before Paddle is imported)
from ernie_paddle.models.inputs import encoder_feeds
from helpers.objective_corpora import FIRST, Documents, make_vocab, write

# isort: split
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.model import PretrainingModel, build_task
from propeller.errors import UserError
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner

Array = np.ndarray[Any, Any]
LENGTH = 40
COMBINATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "ernie": {"knowledge_masking": {}, "capitalization": {"weight": 0.5}, "sentence_reordering": {"weight": 2.0}},
    "bert": {"mlm": {"whole_word": True}, "nsp": {}},
    "tokens": {"capitalization": {"of": "token"}},
}


def _config(vocab_size: int, **more: Any) -> ErnieConfig:
    return ErnieConfig(
        **{
            "vocab_size": vocab_size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": LENGTH,
            "type_vocab_size": 4, "use_task_id": True, "layer_norm_eps": 1e-5, "initializer_range": 0.1,
        }
        | more
    )  # fmt: skip


def _data(name: str, path: str, **more: Any) -> TaskData:
    settings: dict[str, Any] = {"batch_rows": 12, "min_tokens": 1, "task_id": 3, "seed": 2} | more
    return TaskData(name, COMBINATIONS[name], [(path, 1.0)], LENGTH, **settings)


def _entropies(logits: Array, labels: Array) -> tuple[float, float, int]:
    """Mean cross-entropy, accuracy and number of the labels that are not -100."""
    logits, labels = logits.reshape(-1, logits.shape[-1]).astype(np.float64), labels.reshape(-1)
    losses, hits = [], 0
    for row, label in zip(logits, labels.tolist(), strict=True):
        if label != -100:
            losses.append(np.log(np.exp(row - row.max()).sum()) - (row[label] - row.max()))
            hits += int(row.argmax() == label)
    return float(np.mean(losses)), hits / len(losses), len(losses)


def _by_numpy(
    hidden_BTH: Array, feeds: Mapping[str, Array], p: Mapping[str, Array], config: ErnieConfig
) -> dict[str, tuple[float, float, int]]:
    """Loss, accuracy and count of each objective whose labels are in the batch."""

    def linear(x: Array, name: str) -> Array:
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    found = {}
    pooled_BH = np.tanh(linear(hidden_BTH[:, 0], "ernie.pooler.dense")) if "ernie.pooler.dense.weight" in p else None
    if "mlm_labels" in feeds:
        h_MH = linear(hidden_BTH.reshape(-1, config.hidden_size)[feeds["mlm_positions"]], "cls.predictions.transform")
        h_MH = h_MH * 0.5 * (1 + erf(h_MH / np.sqrt(2)))
        h_MH = (h_MH - h_MH.mean(-1, keepdims=True)) / np.sqrt(h_MH.var(-1, keepdims=True) + config.layer_norm_eps)
        h_MH = h_MH * p["cls.predictions.layer_norm.weight"] + p["cls.predictions.layer_norm.bias"]
        logits_MV = h_MH @ p["ernie.embeddings.word_embeddings.weight"].T + p["cls.predictions.decoder_bias"]
        found["mlm"] = _entropies(logits_MV, feeds["mlm_labels"])
    if "capitalization_labels" in feeds:
        found["capitalization"] = _entropies(linear(hidden_BTH, "cls.capitalization"), feeds["capitalization_labels"])
    if "nsp_labels" in feeds:
        assert pooled_BH is not None
        found["nsp"] = _entropies(linear(pooled_BH, "cls.seq_relationship"), feeds["nsp_labels"])
    if "sentence_reordering_labels" in feeds:
        assert pooled_BH is not None
        logits_BK = linear(pooled_BH, "cls.sentence_reordering")
        found["sentence_reordering"] = _entropies(logits_BK, feeds["sentence_reordering_labels"])
    return found


@pytest.mark.parametrize("name", COMBINATIONS)
def test_losses_are_those_of_numpy(name: str, tmp_path: Path) -> None:
    docs = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4], [8, 8], [5], [2, 9, 4]] * 3, 3)
    reader = _data(name, write(tmp_path / "corpus", docs, make_vocab(FIRST + docs.n_tokens))).open()
    config = _config(reader.data.vocab.size)
    task = build_task(name, reader.objectives, config, max_length=LENGTH)
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
    measured = learner.evaluate(name, [feeds])
    hidden_BTH = learner.infer("encode", feeds)["hidden"]
    expected = _by_numpy(hidden_BTH, feeds, learner.parameters(), config)
    terms = {"knowledge_masking": "mlm"}
    weights = {terms.get(o.name, o.name): o.settings.weight for o in reader.objectives}
    assert expected.keys() == weights.keys()
    for term, (loss, accuracy, count) in expected.items():
        assert measured[term] == pytest.approx(loss, abs=2e-5)
        assert measured[f"{term}_accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert measured[f"{term}_count"] == count
    total = sum(weights[term] * loss for term, (loss, _, _) in expected.items())
    assert measured["loss"] == pytest.approx(total, abs=5e-5)


def test_micro_batches_and_blank_rows_do_not_change_the_update(tmp_path: Path) -> None:
    """One step whole, and one cut into micro-batches plus a blank one: equal losses, norms and parameters."""
    docs = Documents([[3, 5, 2, 7], [4] * 9, [1, 2, 3, 4], [8, 8], [5], [2, 9, 4]] * 3, 3)
    path = write(tmp_path / "corpus", docs, make_vocab(FIRST + docs.n_tokens))
    after = []
    for cut in (None, 100):
        reader = _data("ernie", path, micro_batch_tokens=cut).open()
        learner = Learner(OptimizerConfig(), seed=0)
        learner.add(
            build_task(
                "ernie", reader.objectives, _config(reader.data.vocab.size, num_hidden_layers=1), max_length=LENGTH
            )
        )
        micro_batches = reader.step(1).micro_batches
        if cut:
            assert len(micro_batches) > 2
            micro_batches += reader.step(1, rank=12, world=13).micro_batches
        result = learner.train_step("ernie", micro_batches, lr=1e-3)
        after.append((result, learner.parameters()))
    (whole, parameters), (parts, others) = after
    assert whole.counts == parts.counts
    assert whole.loss == pytest.approx(parts.loss, abs=2e-5)
    assert whole.grad_norm == pytest.approx(parts.grad_norm, rel=1e-4)
    for name, array in parameters.items():
        if "k_proj.bias" not in name:  # its true gradient is 0; Adam makes a step of rounding noise
            np.testing.assert_allclose(array, others[name], atol=2e-4, err_msg=name)


def test_an_architecture_that_is_too_small_is_refused(tmp_path: Path) -> None:
    docs = Documents([[3, 5, 2, 7]] * 4, 0)
    reader = _data("ernie", write(tmp_path / "corpus", docs, make_vocab(FIRST + docs.n_tokens))).open()
    with pytest.raises(UserError, match=r"up to 4 parts .* type_vocab_size: 2; set it to 4"):
        build_task("ernie", reader.objectives, _config(100, type_vocab_size=2), max_length=LENGTH)
    with pytest.raises(UserError, match=r"up to 41 tokens do not fit .* 40 positions"):
        build_task("ernie", reader.objectives, _config(100), max_length=LENGTH + 1)
