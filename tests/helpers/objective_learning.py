"""Does a tiny model learn this objective? Train it on a planted corpus, and measure it on other documents.

A test of an objective takes three lines:

    path = planted_corpus(tmp_path, train, held_out)
    before, after = learn(path, {"nsp": {}}, steps=60)
    assert before["nsp_accuracy"] < 0.7 and after["nsp_accuracy"] > 0.95   # chance is 1/2

- `train` and `held_out` are documents: lists of sentences, each a list of words, each a number from 0 on. Word w gets
  the token id FIRST + w. The held-out documents must be others than those trained on (another seed), so that an
  accuracy cannot come from memory; the test decides what there is to learn and says what chance is.
- `flags` gives every word the flags of `reader.flags`; by default each token is a word of its own (WORD_START).
- What is to lie beside the shards (document frequencies, say) is written to `path` between the two calls. A path that
  an objective opens itself (labelled pairs) works too; settings of `TaskData` are given by keyword.
- `before` is measured at step 0: it is near chance, so the bound of the test can fail. Metrics are those of
  `Learner.evaluate`: "<term>", "<term>_accuracy" where the term has hits, and "<term>_count".

Keep it short: rows of 20 to 40 tokens, 16 or 32 rows a step, at most about 150 steps; 5 seconds of processor time.
A rate of 5e-3 suits hidden size 32 and up to two layers. Where nothing is learnt at all, give it one layer, or a loss
whose first steps are easy (mlm beside it helps): a plateau at chance is the usual reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import propeller  # noqa: F401  (applies the process settings before Paddle is imported)

# isort: split
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.pretraining.batches.step_data import TaskData
from ernie_paddle.pretraining.model import build_task
from propeller.graph.optim import OptimizerConfig
from propeller.learner import Learner
from reader.corpora.corpus import Shard, write_corpus
from reader.flags import WORD_START
from reader.tokenizers.vocab import SPECIALS, Vocab
from reader.tokenizers.wordpiece import WordPieceTokenizer

FIRST = len(SPECIALS)
"""Token id of word 0."""

Documents = Sequence[Sequence[Sequence[int]]]
"""Words of each sentence of each document, numbered from 0."""


def planted_corpus(
    folder: Path,
    train: Documents,
    held_out: Documents,
    *,
    flags: Callable[[int], int] = lambda word: WORD_START,
    pieces: Sequence[str] | None = None,
) -> str:
    """Write a corpus with the splits "train" and "heldout"; returns its path.

    Args:
        folder: in which it is made.
        train, held_out: what it says.
        flags: `reader.flags` of a word.
        pieces: the vocabulary's piece of each word, where it matters; "w0", "w1", ... by default.
    """
    n_words = 1 + max(word for documents in (train, held_out) for d in documents for s in d for word in s)
    vocab = Vocab([*SPECIALS, *(pieces or [f"w{i}" for i in range(n_words)])], "planted vocabulary")
    path = folder / "planted"
    shards = {"train": [_shard(train, flags)], "heldout": [_shard(held_out, flags)]}
    write_corpus(path, shards, vocab_sha256=vocab.sha256, vocab_size=vocab.size)
    WordPieceTokenizer(vocab, lowercase=True).save(path)
    return str(path)


def _shard(documents: Documents, flags: Callable[[int], int]) -> Shard:
    sentences = list(chain.from_iterable(documents))
    words = list(chain.from_iterable(sentences))
    return Shard(
        np.array(words, np.uint16) + np.uint16(FIRST),
        np.array([flags(word) for word in words], np.uint8),
        np.cumsum([0, *map(len, sentences)]).astype(np.int64),
        np.cumsum([0, *map(len, documents)]).astype(np.int64),
        np.full(len(documents), -1, np.int16),
    )


def learn(
    path: str,
    objectives: Mapping[str, Mapping[str, Any]],
    *,
    steps: int,
    lr: float = 5e-3,
    layers: int = 1,
    max_length: int = 32,
    batches: int = 8,
    **data: Any,
) -> tuple[dict[str, float], dict[str, float]]:
    """Train a tiny model (hidden size 32, no dropout, Adam, constant rate) on a task of these objectives.

    Args:
        path: a corpus with the splits "train" and "heldout".
        objectives: settings of each by name.
        steps: how many updates.
        lr: their rate.
        layers: of the encoder.
        max_length: tokens of the longest row.
        batches: how many of the held-out split to measure on.
        data: further settings of `TaskData`; 32 rows a step by default.

    Returns:
        The held-out metrics at step 0, and after the last step.
    """
    settings = {"batch_rows": 32, "min_tokens": 1, "seed": 1} | data
    train, held_out = (
        TaskData("learn", objectives, [(path, 1.0)], max_length, split=split, **settings).open()
        for split in ("train", "heldout")
    )
    config = ErnieConfig(
        vocab_size=train.data.vocab.size,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=max_length,
        type_vocab_size=6,
        use_task_id=False,
        initializer_range=0.1,
    )
    learner = Learner(OptimizerConfig(weight_decay=0.0), seed=1)
    learner.add(build_task("learn", train.objectives, config, max_length=max_length))

    def measure() -> dict[str, float]:
        return learner.evaluate("learn", (feeds for n in range(batches) for feeds in held_out.step(n).micro_batches))

    before = measure()
    for number in range(steps):
        assert learner.train_step("learn", train.step(number).micro_batches, lr).finite
    return before, measure()
