"""Retrieval: the loss against NumPy, ranks against a slow count, what chance finds against all orders, bad tables."""

from __future__ import annotations

import argparse
import itertools
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_paddle.finetune.data.text_pairs import PairSet
from ernie_paddle.finetune.metrics import retrieval_metrics as metrics_module
from ernie_paddle.finetune.metrics.retrieval_metrics import chance_metrics, nearest, ranks, retrieval_metrics
from ernie_paddle.finetune.serving.answering import answer_task
from ernie_paddle.finetune.task_type import task_from_dict
from ernie_paddle.finetune.tasks.retrieval import Retrieval
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError
from propeller.graph.optim import OptimizerConfig
from propeller.graph.spec import ProgramSpec
from propeller.learner import Learner
from reader.errors import DataError
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.load import load_tokenizer

WORDS = ["u", "v", "w", "x", "y", "z"]
TABLE = "one\ttwo\nu v\tx\nu v\ty z\nw\tx\nu\tu v w\nv v\tz\n"
CONFIG = ErnieConfig(
    vocab_size=11,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.5,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    return load_tokenizer(path)


def retrieval(**changes: Any) -> Retrieval:
    settings = {"text_a": "one", "text_b": "two", "max_length": 16, "metric": "accuracy", "header": True}
    training = {"pooling": "mean", "temperature": 0.1, "ranks": 1, "micro_batch": 32}
    return Retrieval(**{**settings, **training, **changes})


def read(tmp_path: Path, tokenizer: Tokenizer, content: str = TABLE) -> PairSet:
    path = tmp_path / "pairs.tsv"
    path.write_text(content)
    return retrieval().read(path, tokenizer, labelled=True, strict=True)


def test_a_text_is_encoded_once(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = read(tmp_path, tokenizer)
    assert data.texts == ["u v", "x", "y z", "w", "u", "u v w", "v v", "z"]
    assert data.lines == [2, 2, 3, 4, 5, 5, 6, 6]
    assert data.pairs.tolist() == [[0, 1], [0, 2], [3, 1], [4, 5], [6, 7]]
    assert data.encoded.lengths.tolist() == [4, 3, 4, 3, 3, 5, 4, 3]
    train = data.for_training()
    assert train.lengths.tolist() == [7, 8, 6, 8, 7]
    assert train.lines == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_loss_against_numpy(tmp_path: Path, tokenizer: Tokenizer, pooling: str) -> None:
    """Also that padding changes nothing: NumPy pools the vectors of one text at a time."""
    task, data = retrieval(pooling=pooling), read(tmp_path, tokenizer)
    learner = Learner(OptimizerConfig(), seed=3)
    learner.add(answer_task(task, CONFIG))
    learner.add(ProgramSpec("train", task.inputs(True), lambda: task.layer(CONFIG), task.losses))
    learner.add(hidden_task())
    vectors = []
    for text in range(len(data)):
        (hidden,) = learner.infer("hidden", task.batch(data, np.array([text]), False))["hidden"].astype(np.float64)
        vector = hidden.mean(axis=0) if pooling == "mean" else hidden[0]
        vectors.append(vector / np.linalg.norm(vector))
    answered = learner.infer("answer", task.batch(data, np.arange(len(data)), False))["vectors"]
    np.testing.assert_allclose(answered, vectors, atol=1e-5)

    pairs = data.pairs.tolist()
    right, total = 0.0, 0.0
    for near, far in ((0, 1), (1, 0)):
        for number, pair in enumerate(pairs):
            scores = []
            for other, candidate in enumerate(pairs):
                # Pairs that share a text with this one hold no wrong candidate.
                if other == number or (candidate[0] != pair[0] and candidate[1] != pair[1]):
                    scores.append((vectors[pair[near]] @ vectors[candidate[far]] / 0.1, other))
            own = next(score for score, other in scores if other == number)
            total += np.log(sum(np.exp(score) for score, _ in scores)) - own
            right += own == max(score for score, _ in scores)
    batch = task.batch(data.for_training(), np.arange(len(pairs)), True)
    found = learner.evaluate("train", [batch])
    assert found["loss"] == pytest.approx(total / 2 / len(pairs), abs=1e-4)
    assert found["retrieval_accuracy"] == pytest.approx(right / 2 / len(pairs))


def hidden_task() -> ProgramSpec:
    from ernie_paddle.finetune.networks.layers import encode
    from ernie_paddle.models.encoder import Encoder

    return ProgramSpec(
        "hidden",
        retrieval().inputs(False),
        lambda: Encoder(CONFIG, add_pooler=False),
        lambda encoder, values: {"hidden": encode(encoder, values).hidden_BTH},
    )


def test_a_single_pair_has_nothing_to_learn(tmp_path: Path, tokenizer: Tokenizer) -> None:
    train = read(tmp_path, tokenizer).for_training()
    assert retrieval().batch(train, np.array([2]), True)["partners"].tolist() == [-100]
    assert retrieval().batch(train, np.array([2, 0]), True)["partners"].tolist() == [0, 1]


def slow_ranks(vectors: np.ndarray, pairs: list[list[int]]) -> list[int]:
    cosine = lambda a, b: float(vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b]))  # noqa: E731
    found = []
    for query in sorted({a for a, _ in pairs}):
        right = {b for a, b in pairs if a == query}
        best = max(cosine(query, b) for b in right)
        found.append(1 + sum(cosine(query, b) >= best for b in {b for _, b in pairs} - right))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_ranks_against_a_slow_count(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    monkeypatch.setattr("ernie_paddle.finetune.metrics.retrieval_metrics._MOST_SCORES", 50)  # several blocks
    vectors = rng.normal(size=(30, 6)).astype(np.float32)
    pairs = rng.integers(30, size=(25, 2))
    a_to_b, b_to_a = slow_ranks(vectors, pairs.tolist()), slow_ranks(vectors, pairs[:, ::-1].tolist())
    assert ranks(vectors, pairs).tolist() == a_to_b
    found = retrieval_metrics(vectors, pairs)
    assert found["accuracy_b_to_a"] == pytest.approx(np.mean([rank == 1 for rank in b_to_a]))
    assert found["accuracy"] == pytest.approx((found["accuracy_a_to_b"] + found["accuracy_b_to_a"]) / 2)
    assert found["mrr"] == pytest.approx((np.mean([1 / r for r in a_to_b]) + np.mean([1 / r for r in b_to_a])) / 2)
    best, cosines = nearest(vectors, pairs[:, 0], np.unique(pairs[:, 1]))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (unit[pairs[:, 0]] @ unit.T)[:, np.unique(pairs[:, 1])]
    assert best.tolist() == np.unique(pairs[:, 1])[scores.argmax(axis=1)].tolist()
    np.testing.assert_allclose(cosines, scores.max(axis=1), rtol=1e-5)


def test_vectors_that_are_all_alike_find_nothing() -> None:
    found = retrieval_metrics(np.ones((6, 4), np.float32), np.array([[0, 1], [2, 3], [4, 5]]))
    assert found["accuracy"] == 0
    assert found["mrr"] == pytest.approx(1 / 3)


def test_rounding_ranks_no_text_above_one_that_is_the_same_to_the_model() -> None:
    vectors = np.array([[1, 0], [1, 1e-4], [1, 1e-4 + 1e-8]], np.float32)
    pairs = np.array([[0, 1], [1, 2]])
    for sign in (1, -1):
        moved = vectors + np.array([[0, 0], [0, sign * 1e-7], [0, 0]], np.float32)
        assert metrics_module.ranks(moved, pairs)[0] == 2


@pytest.mark.parametrize("pairs", [[[0, 1], [2, 3], [4, 5], [6, 7]], [[0, 1], [0, 2], [3, 2], [3, 4], [5, 6], [0, 7]]])
def test_chance_against_all_orders(pairs: list[list[int]]) -> None:
    found = chance_metrics(np.array(pairs))
    for name, table in (("a_to_b", pairs), ("b_to_a", [pair[::-1] for pair in pairs])):
        accuracies, reciprocals = [], []
        for query in {a for a, _ in table}:
            right = {b for a, b in table if a == query}
            for order in itertools.permutations({b for _, b in table}):
                accuracies.append(order[0] in right)
                reciprocals.append(1 / (1 + min(order.index(b) for b in right)))
        assert found[f"accuracy_{name}"] == pytest.approx(np.mean(accuracies))
        assert found[f"mrr_{name}"] == pytest.approx(np.mean(reciprocals))


def test_chance_among_many_against_binomials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank k is the first right one if the r - 1 others are among the n - k later ones; one sum for each r."""
    rng = np.random.default_rng(0)
    pairs = np.stack([rng.integers(80, size=300), 80 + rng.integers(60, size=300)], axis=1)
    plain, asked = metrics_module._reciprocal_by_chance, []
    monkeypatch.setattr(metrics_module, "_reciprocal_by_chance", lambda n, r: asked.append((n, r)) or plain(n, r))
    found = chance_metrics(pairs)
    several = set()
    for name, table in (("a_to_b", pairs.tolist()), ("b_to_a", pairs[:, ::-1].tolist())):
        n = len({b for _, b in table})
        rights = [len({b for a, b in table if a == query}) for query in {a for a, _ in table}]
        each = [sum(math.comb(n - k, r - 1) / k for k in range(1, n + 1)) / math.comb(n, r) for r in rights]
        assert found[f"mrr_{name}"] == pytest.approx(np.mean(each), rel=1e-12)
        assert found[f"accuracy_{name}"] == pytest.approx(np.mean(rights) / n, rel=1e-12)
        several |= {(n, r) for r in rights}
    assert sorted(asked) == sorted(several)


def options(**changes: Any) -> argparse.Namespace:
    columns = {"text_a": "one", "text_b": "two", "label": None, "labels": None, "max_length": 16, "metric": None}
    training = {"header": True, "pooling": "mean", "temperature": 0.05, "batch_size": 32, "micro_batch": 64}
    return argparse.Namespace(**{**columns, **training, **changes})


def test_the_cut_of_the_batch_belongs_to_the_settings_where_it_decides() -> None:
    """A run is told from another by its settings: those that give other candidates must differ."""
    whole = Retrieval.from_options(options())
    assert Retrieval.from_options(options(micro_batch=32)).to_dict() == whole.to_dict()
    assert Retrieval.from_options(options(micro_batch=16)).to_dict() != whole.to_dict()
    assert Retrieval.from_options(options(batch_size=16)).to_dict() != whole.to_dict()
    assert task_from_dict(whole.to_dict(), "task.json") == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_b": None}, "give --text_a and --text_b"),
        ({"micro_batch": 1}, "this one has 1 pair.s.; give a larger"),
        ({"metric": "f1"}, "metric 'f1' is not a metric of retrieval: accuracy, mrr"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Retrieval.from_options(options(**changes))


def test_unusable_rows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("one\ttwo\nu\t \nv\tw\nx\n")
    with pytest.raises(DataError, match=r"pairs.tsv:2: text_b .'two'. is empty .and 1 more row"):
        retrieval().read(path, tokenizer, labelled=True, strict=True)
    (data,) = retrieval().stream(path, tokenizer, chunk_rows=1)
    assert (data.pair_lines, [line for line, _ in data.problems]) == ([3], [2, 4])


def test_line_aligned_files_make_a_table(test_data: Path, tmp_path: Path) -> None:
    """Tatoeba's sets, as `paste` joins them."""
    tokenizer = load_tokenizer(test_data / "vocab" / "multilingual_local_32k.model")
    sides = []
    with tarfile.open(test_data / "parallel" / "tatoeba_v1.tar.gz") as archive:
        for side in ("deu", "eng"):
            member = archive.extractfile(f"tatoeba_v1/tatoeba.deu-eng.{side}")
            assert member is not None
            sides.append(member.read().decode().splitlines())
    path = tmp_path / "deu-eng.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in zip(*sides, strict=True)))
    data = retrieval(text_a="1", text_b="2", header=False, max_length=64).read(
        path, tokenizer, labelled=True, strict=True
    )
    assert data.examples == 1000
    assert [[data.texts[a], data.texts[b]] for a, b in data.pairs] == [list(pair) for pair in zip(*sides, strict=True)]
