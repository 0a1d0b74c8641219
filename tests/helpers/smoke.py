"""The smoke run: configs/smoke/continual.yaml on a made-up corpus that is the same on every machine.

`PYTHONPATH=tests python -m helpers.smoke` records its losses anew; do that only when a change of the losses is meant.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from ernie_paddle.pretraining.batches.step_data import RunReader
from ernie_paddle.pretraining.recipe_files import load_recipe
from ernie_paddle.pretraining.run import Pretraining
from ernie_paddle.yaml_configs import configs_dir
from helpers.paths import ROOT
from reader.corpora.corpus import Shard, write_corpus
from reader.flags import CAPITAL, ENTITY_CONT, IN_ENTITY, PHRASE_CONT, UPPER, WORD_START
from reader.random import generator
from reader.tokenizers.wordpiece import WordPieceTokenizer

RECORDED = ROOT / "tests" / "golden" / "smoke_losses.json"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = 90


def write_smoke_corpus(folder: Path) -> None:
    """40 documents of sentences whose words follow each other by a simple rule, so that there is something to learn."""
    folder.mkdir(parents=True)
    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join([*SPECIAL, *(f"w{i}" for i in range(WORDS))]) + "\n")
    tokenizer = WordPieceTokenizer.load(vocab, lowercase=True)
    tokenizer.save(folder)
    rng = generator(7, "smoke corpus")
    tokens: list[int] = []
    flags: list[int] = []
    sentences, documents = [0], [0]
    for _ in range(40):
        for _ in range(int(rng.integers(2, 9))):
            word = int(rng.integers(WORDS))
            for place in range(int(rng.integers(4, 13))):
                capital = place == 0 or word % 7 == 0
                flags.append(WORD_START | (CAPITAL | UPPER if capital else 0) | (IN_ENTITY if word % 7 < 2 else 0))
                flags[-1] |= (ENTITY_CONT if word % 7 == 1 and place else 0) | (
                    PHRASE_CONT if word % 5 == 1 and place else 0
                )
                tokens.append(len(SPECIAL) + word)
                word = (word + int(rng.integers(1, 4))) % WORDS
            sentences.append(len(tokens))
        documents.append(len(sentences) - 1)
    shard = Shard(
        np.array(tokens, np.uint16),
        np.array(flags, np.uint8),
        np.array(sentences),
        np.array(documents),
        np.full(len(documents) - 1, -1, np.int16),
    )
    vocabulary = tokenizer.vocab
    write_corpus(folder, {"train": [shard]}, vocab_sha256=vocabulary.sha256, vocab_size=vocabulary.size)


def smoke_losses() -> list[dict[str, float | str]]:
    """Task, losses and gradient norm of every step."""
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name) / "corpus"
        write_smoke_corpus(corpus)
        recipe = load_recipe(str(configs_dir() / "smoke" / "continual.yaml"), corpora=[str(corpus)])
        training = Pretraining(recipe, Path(name) / "run")
        read = RunReader(training.schedule, training.train_data)
        rows: list[dict[str, float | str]] = []
        for step in range(training.schedule.total_steps):
            given = training.step_input(step, read(step))
            result = training.learner.train_step(given.task, given.micro_batches, given.lr)
            rows.append({"task": given.task, **result.losses, "grad_norm": result.grad_norm})
        return rows


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(smoke_losses(), indent=1) + "\n", encoding="utf-8")
