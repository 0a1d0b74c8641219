"""Quick-Thoughts and FastSent: examples against a slow reading, losses against NumPy.

Shape suffixes: N samples of a micro-batch, B = 2N rows, T tokens, H hidden.
"""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import propeller  # noqa: F401  (applies the process settings before Paddle is imported)
from ernie_paddle.models.inputs import encoder_feeds
from helpers.objective_corpora import FIRST, Documents, documents, make_vocab, parts_of, rows, step_reader, write

# isort: split
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.objectives.registry import make_objective
from ernie_paddle.objectives.rows import Data
from ernie_paddle.objectives.shared.row_pairs import RowPairs
from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.batches.step_reader import StepBatch
from ernie_paddle.pretraining.model import PretrainingModel, build_task
from propeller.errors import UserError
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from reader.corpora.corpus import Corpus

Array = np.ndarray[Any, Any]
NAMES = ["quick_thoughts", "fast_sent"]


Token = int
Sentence = tuple[Token, ...]


def _data(docs: Documents, max_length: int) -> Data:
    corpus = Corpus(Path("in-memory"), "train", {"languages": []}, [docs.shard()])
    source = RowPairs(corpus, max_length - 2)
    return Data(make_vocab(FIRST + docs.n_tokens), [source], ["in-memory"], max_length)


def _texts(docs: Documents, most: int) -> list[list[Sentence]]:
    """The sentences of every text: rows filled one sentence after the other, and joined two by two."""
    texts = []
    for document in docs.sentences():
        filled: list[list[Sentence]] = []
        fresh = True
        for sentence in document:
            if len(sentence) > most:
                n = -(-len(sentence) // most)
                filled += [[sentence[len(sentence) * i // n : len(sentence) * (i + 1) // n]] for i in range(n)]
                fresh = True
            elif fresh or sum(map(len, filled[-1])) + len(sentence) > most:
                filled.append([sentence])
                fresh = False
            else:
                filled[-1].append(sentence)
        texts += [list(chain(*filled[i : i + 2])) for i in range(0, len(filled), 2)]
    return texts


def _boundaries(text: list[Sentence]) -> list[int]:
    """Tokens before each sentence but the first."""
    return [sum(map(len, text[:i])) for i in range(1, len(text))]


@settings(max_examples=100, deadline=None)
@given(documents(max_length=20), st.sampled_from([9, 16, 32]))
def test_texts_fill_two_rows(docs: Documents, max_length: int) -> None:
    """All text is there once; lengths are twice the longer row of the most even cut, which always fits."""
    (source,) = _data(docs, max_length).sources
    texts = _texts(docs, max_length - 2)
    assert len(source) == len(texts)
    starts = {document[0][0]: number for number, document in enumerate(docs.sentences())}
    number = -1
    for k, text in enumerate(texts):
        sample = source.sample(k)
        offsets = sample.sentence_offsets.tolist()
        tokens = sample.tokens.tolist()
        assert [tuple(tokens[i:j]) for i, j in pairwise(offsets)] == text
        number = starts.get(tokens[0], number)
        assert (sample.index, sample.document) == (k, number)
        assert sample.flags.tolist() == docs.shard().flags[tokens[0] - FIRST :][: len(tokens)].tolist()
        longer = min((max(cut, len(tokens) - cut) for cut in _boundaries(text)), default=len(tokens))
        assert source.lengths[k] == 2 * longer <= source.max_tokens == 2 * (max_length - 2)
        whole = source.document(number).tokens.tolist()
        assert whole == [token for sentence in docs.sentences()[number] for token in sentence]


def test_texts_do_not_reach_over_what_is_left_out(tmp_path: Path) -> None:
    """Sentences of 1 and 9 tokens in rows of 4, of which the short one is left out: nothing follows directly."""
    docs = Documents([[4, 1, 9], [3, 4, 4], [1], [2]], 0)
    path = write(tmp_path / "corpus", docs, make_vocab(FIRST + docs.n_tokens))
    source = RowPairs(Corpus.open(path), 4, min_tokens=2)
    texts = [source.sample(k).tokens.astype(int) - FIRST for k in range(len(source))]
    assert [text.tolist() for text in texts] == [
        [0, 1, 2, 3], [5, 6, 7, 8, 9, 10], [11, 12, 13], [14, 15, 16, 17, 18, 19, 20], [21, 22, 23, 24], [26, 27],
    ]  # fmt: skip
    assert source.skipped.total == 3  # two short samples, and a sentence that was cut
    again = pickle.loads(pickle.dumps(source))
    assert again.lengths.tolist() == source.lengths.tolist() == [8, 6, 6, 8, 8, 4]
    assert again.sample(3).tokens.tolist() == source.sample(3).tokens.tolist()


@settings(max_examples=60, deadline=None)
@given(documents(), st.sampled_from(NAMES), st.sampled_from([16, 32]))
def test_a_text_is_cut_at_a_boundary_that_leaves_rows_which_fit(docs: Documents, name: str, max_length: int) -> None:
    objective = make_objective(name)
    data = _data(docs, max_length)
    texts = _texts(docs, max_length - 2)
    alone = 0
    for room in (max_length, max_length - 4):
        for row in rows(data, room):
            text = texts[row.number]
            size = sum(map(len, text))
            fitting = [cut for cut in _boundaries(text) if max(cut, size - cut) <= room - 2]
            if len(text) > 1 and not fitting:
                continue  # its bin has longer rows
            examples = objective.arrange(row)
            first, second = (part for example in examples for part in parts_of(example, data.vocab))
            assert first + second == sum(text, ())
            if fitting:
                assert len(first) in fitting
                assert [example.labels for example in examples] == [{f"{name}_labels": 1}] * 2
            else:
                assert second == ()
                assert [example.labels for example in examples] == [{}, {}]
                alone += 1
        assert row.skipped.total == alone
        alone = 0


def test_all_fitting_cuts_are_equally_likely() -> None:
    """Rows of at most 6 tokens out of sentences of 2, 1, 2, 1, 1, 2: A has 3, 5 or 6 tokens, anew in every pass."""
    data = _data(Documents([[2, 1, 2, 1, 1, 2]], 0), 8)
    assert len(data.sources[0]) == 1
    for name in NAMES:
        objective = make_objective(name)
        lengths = [len(objective.arrange(row)[0].ids) - 2 for row in rows(data, 8, epochs=900)]
        counts = Counter(lengths)
        assert set(counts) == {3, 5, 6}
        assert min(counts.values()) > 240  # 300 with a deviation of 14


@settings(max_examples=40, deadline=None)
@given(documents(), st.integers(1, 5))
def test_labels(docs: Documents, samples: int) -> None:
    """Row N + i follows row i; only pairs are labelled, and a lone one is not; whatever mlm masks beside them."""
    text = [sum(document, ()) for document in docs.sentences()]
    data = _data(docs, max_length=20)
    special = {data.vocab.pad, data.vocab.cls, data.vocab.sep}
    readers = {name: step_reader(data, {"mlm": {}, name: {}}, overhead=4, batch_rows=samples) for name in NAMES}
    for number in range(readers["fast_sent"].plan.batches_per_epoch):
        step = readers["quick_thoughts"].step(number)
        (feeds,) = step.micro_batches
        ids = feeds["input_ids"].copy()
        assert step.global_rows == len(ids)
        ids.reshape(-1)[feeds["mlm_positions"]] = feeds["mlm_labels"]
        kept = [tuple(token for token in row if token not in special) for row in ids.tolist()]
        n = len(kept) // 2
        paired = [bool(second) for second in kept[n:]]
        for first, second in zip(kept[:n], kept[n:], strict=True):
            document = next(document for document in text if first[0] in document)
            start = document.index(first[0])
            assert document[start : start + len(first + second)] == first + second
        lone = sum(paired) == 1
        expected = [i if is_pair and not lone else -100 for i, is_pair in enumerate(paired)]
        assert feeds["quick_thoughts_labels"].tolist() == expected
        reason = "quick_thoughts: the only pair of a micro-batch has no other candidates, left without a label"
        assert step.skipped.counts.get(reason, 0) == lone

        (feeds,) = readers["fast_sent"].step(number).micro_batches
        assert feeds["input_ids"].shape == ids.shape
        for b, row in enumerate(ids.tolist()):
            for t, token in enumerate(row):
                counted = paired[b % n] and token not in special
                assert feeds["fast_sent_labels"][b, t] == (1 if counted else -100)


def _cosine(x: Array, y: Array) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def _quick_thoughts(pooled_BH: Array, texts: list[list[int]], scale: float) -> tuple[float, float, int]:
    """Mean loss, accuracy and number of pairs."""
    n = len(pooled_BH) // 2
    pairs = [i for i in range(n) if texts[n + i]]
    losses, hits = [], 0
    for i in pairs:
        energies = {j: -_cosine(pooled_BH[i], pooled_BH[n + j]) for j in pairs}
        total = sum(np.exp(-scale * energy) for energy in energies.values())
        losses.append(-np.log(np.exp(-scale * energies[i]) / total))
        hits += min(energies, key=lambda j: energies[j]) == i
    return float(np.mean(losses)), hits / len(pairs), len(pairs)


def _fast_sent(pooled_BH: Array, hidden_BTH: Array, texts: list[list[int]]) -> tuple[float, int]:
    """Mean loss and number of tokens."""
    n = len(pooled_BH) // 2
    losses = []
    for i in range(n):
        for one, other in ((i, n + i), (n + i, i)):
            if texts[n + i]:
                losses += [-np.log((1 + _cosine(pooled_BH[one], hidden_BTH[other, t])) / 2) for t in texts[other]]
    return float(np.mean(losses)), len(losses)


@pytest.mark.parametrize(
    ("name", "own"), [("quick_thoughts", {}), ("quick_thoughts", {"scale": 7.0, "weight": 0.5}), ("fast_sent", {})]
)
def test_losses_are_those_of_numpy(name: str, own: dict[str, float], tmp_path: Path) -> None:
    """A batch with rows of many lengths and samples without a partner."""
    docs = Documents([[3, 5, 2, 7], [4] * 9, [1, 2], [8, 8], [5], [7], [2, 9, 4]] * 2, 3)
    path = write(tmp_path / "corpus", docs, make_vocab(FIRST + docs.n_tokens))
    data = TaskData("task", {name: own, "mlm": {}}, [(path, 1.0)], 24, batch_rows=16, min_tokens=1, bin_width=32)
    reader = data.open()
    config = ErnieConfig(
        vocab_size=reader.data.vocab.size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=24, type_vocab_size=2,
        use_task_id=False, initializer_range=0.5,
    )  # fmt: skip
    task = build_task("task", reader.objectives, config, max_length=24)
    encode = ProgramSpec(
        "encode",
        task.inputs,
        lambda: PretrainingModel(config, reader.objectives),
        lambda model, feeds: (
            _vectors(model.encoder(**encoder_feeds(feeds))) | {"all": sum(v.sum() for v in feeds.values())}
        ),
    )
    learner = Learner(OptimizerConfig(), seed=0)
    learner.add(task)
    learner.add(encode)
    (feeds,) = reader.step(0).micro_batches
    measured = learner.evaluate("task", [feeds])
    vectors = learner.infer("encode", feeds)
    vocab = reader.data.vocab
    text_BT = (feeds["attention_mask"] == 1) & ~np.isin(feeds["input_ids"], [vocab.cls, vocab.sep])
    texts = [np.flatnonzero(row).tolist() for row in text_BT]
    assert 0 < sum(not text for text in texts) < len(texts) // 2 - 2
    if name == "quick_thoughts":
        loss, accuracy, count = _quick_thoughts(vectors["pooled"], texts, own.get("scale", 1.0))
        assert measured["quick_thoughts_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    else:
        loss, count = _fast_sent(vectors["pooled"], vectors["hidden"], texts)
    assert measured[name] == pytest.approx(loss, abs=2e-5)
    assert measured[f"{name}_count"] == count
    assert measured["loss"] == pytest.approx(own.get("weight", 1.0) * loss + measured["mlm"], abs=5e-5)
    # A blank micro-batch (a rank without rows) adds nothing, and nothing that is not a number.
    (blank,) = reader.step(0, rank=16, world=17).micro_batches
    assert (blank[f"{name}_labels"] == -100).all()
    again = learner.evaluate("task", [feeds, blank])
    assert again == pytest.approx(measured, abs=1e-6)
    assert learner.train_step("task", [blank, feeds], lr=1e-3).finite


def _vectors(outputs: Any) -> dict[str, Any]:
    return {"hidden": outputs.hidden_BTH, "pooled": outputs.pooled_BH}


def test_rows_are_as_long_as_those_of_other_objectives(tmp_path: Path) -> None:
    """Of documents that fill rows: as many rows as the batch says, nearly full, in nearly full micro-batches."""
    lengths = np.random.default_rng(0).integers(2, 13, size=(60, 60)).tolist()
    docs = Documents(lengths, 3)
    path = write(tmp_path / "corpus", docs, make_vocab(FIRST + docs.n_tokens))

    def read(objectives: dict[str, dict[str, Any]], **sizes: int) -> list[StepBatch]:
        reader = TaskData("task", objectives, [(path, 1.0)], 64, bin_width=16, **sizes).open()
        return [reader.step(number) for number in range(40)]

    for objectives in ({"mlm": {}}, {"quick_thoughts": {}, "mlm": {}}):
        by_rows = read(objectives, batch_rows=16, micro_batch_tokens=512)
        counts = [step.rows for step in by_rows]
        assert max(counts) == 16
        assert np.mean(counts) > 14
        by_tokens = read(objectives, batch_tokens=1024, micro_batch_tokens=512)
        for step in by_tokens:
            assert step.padded_tokens <= 1024
            assert len(step.micro_batches) <= 3
            assert all(feeds["input_ids"].size <= 512 for feeds in step.micro_batches)
        for steps in (by_rows, by_tokens):
            real, rows = sum(step.real_tokens for step in steps), sum(step.rows for step in steps)
            assert real / rows > 50
        assert sum(step.padded_tokens for step in by_tokens) / len(by_tokens) > 800


def test_sizes_that_leave_nothing_to_compare_are_refused(tmp_path: Path) -> None:
    docs = Documents([[3, 5, 2, 7]] * 4, 0)
    path = write(tmp_path / "corpus", docs, make_vocab(FIRST + docs.n_tokens))

    def opened(name: str, **sizes: int) -> None:
        TaskData("task", {name: {}}, [(path, 1.0)], 24, min_tokens=1, **sizes).open()

    opened("quick_thoughts", batch_tokens=96, micro_batch_tokens=96)
    opened("quick_thoughts", batch_rows=4)
    opened("fast_sent", batch_tokens=24, micro_batch_tokens=24)
    for sizes in ({"batch_tokens": 95}, {"batch_rows": 3}, {"batch_rows": 8, "micro_batch_tokens": 95}):
        with pytest.raises(UserError, match=r"task 'task': quick_thoughts compares .* leaves only 1; set it to \d+ or"):
            opened("quick_thoughts", **sizes)
    for bad in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(UserError, match="scale must lie between"):
            make_objective("quick_thoughts", {"scale": bad})
