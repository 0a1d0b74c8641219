"""A tiny language with planted rules, and a tiny "pre-trained" model without dropout, for the tests of fine-tuning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ernie_paddle.checkpoints.model_dir import PARAMETERS, model_documents, tokenizer_files
from ernie_paddle.models.config import ErnieConfig
from reader.tokenizers.load import load_tokenizer

WORDS = [f"w{i}" for i in range(20)]
ENTITIES = {"w0": "PER", "w1": "LOC"}
CONFIG = ErnieConfig(
    vocab_size=25,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=32,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
ENCODER_ARRAYS = 5 + 16 + 2
"""Arrays of the encoder: three embedding tables and a LayerNorm, one block, the pooler."""


def write_vocab(folder: Path) -> Path:
    """A WordPiece vocabulary of the words and the special pieces."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    return path


def write_pretrained(folder: Path, config: ErnieConfig = CONFIG) -> Path:
    """A model directory with random weights of the encoder and one array of a pre-training head."""
    from ernie_paddle.finetune.serving.encoder_program import encoder_task
    from propeller.graph.optim import OptimizerConfig
    from propeller.learner import Learner

    folder.mkdir(parents=True)
    learner = Learner(OptimizerConfig(), seed=7)
    learner.add(encoder_task(config, with_pooled=True))
    arrays = learner.parameters()
    arrays["cls.capitalization.bias"] = np.zeros(2, np.float32)
    save_file(arrays, folder / PARAMETERS)
    for name, document in model_documents(config, None).items():
        (folder / name).write_text(json.dumps(document))
    with tokenizer_files(load_tokenizer(write_vocab(folder))) as files:
        for name, source in files.items():
            shutil.copyfile(source, folder / name)
    return folder


def write_table(path: Path, rows: int, seed: int, rule: str) -> Path:
    """A table whose label follows from the words by a rule; all other words are random.

    first: the label is "yes" or "no" as the text begins with an even or odd word. pair: whether the second text begins
    with w0, whatever the first begins with (w0 or w1). count: the number of words w0 among eight.
    """
    rng = np.random.default_rng(seed)
    lines = ["a\tb\tlabel"]
    for _ in range(rows):
        a, b = (list(rng.choice(WORDS[4:], size=rng.integers(2, 7))) for _ in range(2))
        if rule == "first":
            bit = int(rng.integers(2))
            a[0], label = WORDS[bit], ("yes", "no")[bit]
        elif rule == "pair":
            one, two = rng.integers(2, size=2)
            a[0], b[0], label = WORDS[one], WORDS[two], ("first", "second")[two]
        else:
            hits = int(rng.integers(0, 6))
            a = ["w0"] * hits + list(rng.choice(WORDS[4:], size=8 - hits))
            label = str(hits / 2)
        lines.append("\t".join([" ".join(a), " ".join(b), label]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_tagged(path: Path, sentences: int, seed: int) -> Path:
    """w0 and w1 begin entities of two types, which go on over the words w2; the rest is outside. Some are long."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(sentences):
        kind = ""
        for word in rng.choice(WORDS[:10], size=rng.integers(3, 45)):
            new = ENTITIES.get(word, "")
            kind = new or (kind if word == "w2" else "")
            lines.append(f"{word} {'B-' if new else 'I-' if kind else 'O'}{kind}")
        lines.append("")
    path.write_text("\n".join(lines) + "\n")
    return path


def write_questions(path: Path, questions: int, seed: int) -> Path:
    """The answer is the one word w0 or w1 of the context, whatever the question; without one there is no answer."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(questions):
        words = rng.choice(WORDS[4:], size=rng.integers(3, 40)).tolist()
        answers = []
        if number % 3:
            place = int(rng.integers(len(words)))
            words[place] = WORDS[number % 2]
            answers = [{"text": words[place], "answer_start": len(" ".join([*words[:place], ""]))}]
        qas = [{"id": f"q{number}", "question": "w3", "answers": answers, "is_impossible": not answers}]
        rows.append({"context": " ".join(words), "qas": qas})
    # One whose answer stands elsewhere.
    wrong = {"id": "wrong", "question": "w3", "answers": [{"text": "w0", "answer_start": 1}], "is_impossible": False}
    rows.append({"context": "w5 w0", "qas": [wrong]})
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": rows}]}))
    return path
