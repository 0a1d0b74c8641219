"""The smoke runs: the recipes of configs/smoke on made-up corpora that are the same on every machine.

`PYTHONPATH=tests python -m helpers.smoke continual` (or `objectives`, `generation`) records the losses of one of them
anew; do that only when a change of the losses is meant.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ernie_paddle.pretraining.batches.step_data import RunReader
from ernie_paddle.pretraining.recipe import JOINED, Recipe
from ernie_paddle.pretraining.recipe_files import load_recipe
from ernie_paddle.pretraining.run import Pretraining
from ernie_paddle.yaml_configs import configs_dir
from helpers.pair_corpora import Pair, prepared
from helpers.paths import ROOT
from reader.corpora.corpus import Shard, write_corpus
from reader.flags import CAPITAL, ENTITY_CONT, IN_ENTITY, PHRASE_CONT, UPPER, WORD_START
from reader.prepare.statistics import make_statistics
from reader.random import generator
from reader.tokenizers.wordpiece import WordPieceTokenizer

CONTINUAL, OBJECTIVES, GENERATION = "continual", "objectives", "generation"
RECORDED = {
    CONTINUAL: ROOT / "tests" / "golden" / "smoke_losses.json",
    OBJECTIVES: ROOT / "tests" / "golden" / "smoke_objectives_losses.json",
    GENERATION: ROOT / "tests" / "golden" / "smoke_generation_losses.json",
}
"""The recorded losses of each recipe of configs/smoke."""
TERMS = {"knowledge_masking": "mlm", "multi_flow": "multi_flow_word"}
"""The term of the loss of objectives whose term has another name than they."""
RELATIONS = ("because", "but", "so")
RELEVANCES = ("strong", "weak")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = 90


def write_smoke_corpus(folder: Path, most_sentences: int = 8) -> None:
    """40 documents of sentences whose words follow each other by a simple rule, so that there is something to learn.

    Args:
        folder: of the corpus.
        most_sentences: of the longest document; the shortest has two.
    """
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
        for _ in range(int(rng.integers(2, most_sentences + 1))):
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


def smoke_pairs(labels: Sequence[str], n_texts: int, name: str) -> list[Pair]:
    """120 labelled pairs over ``n_texts`` first texts: the label says how far the second text lies from the first."""
    rng = generator(7, name)
    pairs: list[Pair] = []
    for number in range(120):
        first = number % n_texts
        label = int(rng.integers(len(labels)))
        a = [(first * 7 + 2 * place) % WORDS for place in range(4 + first % 5)]
        b = [(first * 7 + 29 * label + int(rng.integers(1, 4))) % WORDS]
        while len(b) < 3 + number % 9:
            b.append((b[-1] + int(rng.integers(1, 4))) % WORDS)
        pairs.append((a, b, labels[label]))
    return pairs


def smoke_recipe(name: str, folder: Path) -> Recipe:
    """The recipe of that name, on corpora that are written to ``folder``."""
    corpus = folder / "corpus"
    # Objectives that count a token in its document need documents of several rows.
    write_smoke_corpus(corpus, most_sentences=8 if name == CONTINUAL else 30)
    overrides = []
    if name == OBJECTIVES:
        make_statistics(corpus)
        for task, labels, n_texts in (("discourse_relation", RELATIONS, 120), ("ir_relevance", RELEVANCES, 30)):
            path = prepared(folder / task, smoke_pairs(labels, n_texts, task), words=WORDS)
            overrides.append(f"tasks.{task}.corpora=[{{path: {json.dumps(path)}}}]")
    return load_recipe(str(configs_dir() / "smoke" / f"{name}.yaml"), overrides, corpora=[str(corpus)])


def smoke_losses(name: str) -> list[dict[str, float | str]]:
    """What is trained, its losses and its gradient norm, at every step of the recipe of that name."""
    with tempfile.TemporaryDirectory() as folder:
        training = Pretraining(smoke_recipe(name, Path(folder)), Path(folder) / "run")
        read = RunReader(training.schedule, training.train_data)
        rows: list[dict[str, float | str]] = []
        for step in range(training.schedule.total_steps):
            given = training.step_input(step, read(step))
            result = training.learner.train_step(given.task, given.micro_batches, given.lr)
            rows.append({"task": given.task, **result.losses, "grad_norm": result.grad_norm})
        return rows


def recorded_objectives() -> dict[str, float]:
    """The objectives that the smoke recipes train, with the least of the losses that are recorded of each."""
    found: dict[str, float] = {}
    for name, file in RECORDED.items():
        recipe = load_recipe(str(configs_dir() / "smoke" / f"{name}.yaml"))
        for row in json.loads(file.read_text(encoding="utf-8")):
            losses = {key.rpartition("/")[2]: value for key, value in row.items() if isinstance(value, float)}
            for objective in {each for task in row["task"].split(JOINED) for each in recipe.tasks[task].objectives}:
                # Both objectives that mask have the term of BERT's masked language model.
                loss = losses[TERMS.get(objective, objective)]
                found[objective] = min(loss, found.get(objective, loss))
    return found


if __name__ == "__main__":
    for recorded in sys.argv[1:]:
        RECORDED[recorded].write_text(json.dumps(smoke_losses(recorded), indent=1) + "\n", encoding="utf-8")
