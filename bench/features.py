"""Speed of turning tables and questions into rows of pieces, and the share of padding in evaluation batches.

Run it with `python -m bench features`. The questions are featurized alternately by this project and in plain Python, as
in BERT's original script (`bench/plain_squad.py`), a few at a time, so that other load on the machine affects both
equally. Few answers are at another place: inside a word, the script takes the first occurrence of the answer's text, or
the whole word; ours is at the given offset. Without --sst2 and --squad the texts are made from Python's manual: as many
rows as SST-2 has, with as many words.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.plain_squad import PlainTokenizer, plain_rows
from bench.prepare import MEGABYTE, manual_text
from ernie_paddle.finetune.data.question_data import encode_questions
from ernie_paddle.finetune.tasks.classification import Classification
from ernie_paddle.finetune.tasks.question_answering import QuestionAnswering
from reader.batches.epochs import evaluation_batches
from reader.batches.rows import BERT_LAYOUT
from reader.prepare.vocabulary import train_vocab
from reader.tables.questions import read_questions
from reader.tokenizers.load import load_tokenizer
from reader.tokenizers.wordpiece import WordPieceTokenizer, single_threaded

_SST2_ROWS = 67_349
_SST2_WORDS = (1, 19)
_CONTEXT_WORDS = (60, 180)
_QUESTIONS_OF_A_CONTEXT = 5
_PART = 50  # contexts
_WINDOWS = {"max_length": 384, "max_query_length": 64, "stride": 128}


def main(argv: list[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sst2", type=Path, help="SST-2's training table (default: made from Python's manual)")
    parser.add_argument("--squad", type=Path, help="questions in SQuAD's JSON (default: made from Python's manual)")
    parser.add_argument("--vocab", type=Path, help="a vocabulary (default: 8,000 pieces trained on the manual)")
    parser.add_argument("--questions", type=int, default=1000, help="questions to compare (default: 1000)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="repetitions for SST-2, of which the best counts (default: 3)"
    )
    options = parser.parse_args(argv)
    single_threaded()
    with tempfile.TemporaryDirectory(prefix="bench-features-") as folder:
        print("| measurement | value | goal |")
        print("|---|---|---|")
        for name, value, goal in measure(Path(folder), options):
            print(f"| {name} | {value} | {goal} |", flush=True)


def measure(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Rows of the table."""
    vocab = options.vocab
    if vocab is None:
        text = folder / "manual.txt"
        text.write_text(manual_text(4 * MEGABYTE, seed=0), encoding="utf-8")
        vocab = folder / "vocab"
        train_vocab([text], vocab, 8000, limit_bytes=4 * MEGABYTE)
    yield from table_rows(options.sst2 or made_table(folder / "train.tsv"), vocab, options.rounds)
    yield from question_rows(options.squad or made_questions(folder / "squad.json"), vocab, options.questions)


def table_rows(table: Path, vocab: Path, rounds: int) -> Iterator[tuple[str, str, str]]:
    """Read the file into pieces with labels, each time with a tokenizer whose cache is empty."""
    task = Classification("sentence", None, "label", 128, "accuracy", True, labels=("0", "1"))
    seconds = []
    for _ in range(rounds):
        tokenizer = load_tokenizer(vocab)
        start = time.perf_counter()
        data = task.read(table, tokenizer, labelled=True, strict=True)
        seconds.append(time.perf_counter() - start)
    yield f"SST-2, {len(data):,} rows, {int(data.lengths.sum()):,} pieces", f"{min(seconds):.2f} s", "under 5 s"
    yield "padding of its evaluation batches of 64", f"{padding(data.lengths):.1%}", "under 5%"


def question_rows(source: Path, vocab: Path, most: int) -> Iterator[tuple[str, str, str]]:
    """Make padded rows of questions with answers, alternately by ours and in plain Python; and count differences."""
    tokenizer = load_tokenizer(vocab)
    assert isinstance(tokenizer, WordPieceTokenizer)
    plain = PlainTokenizer(tokenizer.vocab, tokenizer.lowercase)
    task = QuestionAnswering(384, 128, 64, 30, 20, "squad", "f1", False)
    asked = read_questions(source, labelled=True)
    questions = list(itertools.islice((question for question in asked if question.usable_answer()), most))
    contexts = list(dict.fromkeys(question.context for question in questions))
    seconds, lengths = [0.0, 0.0], []
    other_rows = other_answers = 0
    for begin in range(0, len(contexts), _PART):
        shown = set(contexts[begin : begin + _PART])
        part = [question for question in questions if question.context in shown]
        start = time.perf_counter()
        data = encode_questions("", part, [], tokenizer, **_WINDOWS, layout=BERT_LAYOUT, labelled=True)
        batch = task.batch(data, np.arange(len(data)), labelled=True)
        middle = time.perf_counter()
        rows = [row for question in part for row in plain_rows(question, plain, **_WINDOWS)]
        seconds = [seconds[0] + middle - start, seconds[1] + time.perf_counter() - middle]
        lengths.append(data.lengths)
        assert len(rows) == len(data), (len(rows), len(data))
        for number, row in enumerate(rows):
            ids = batch["input_ids"][number]
            other_rows += row.input_ids[: len(ids)] != ids.tolist()
            other_answers += (row.start, row.end) != (data.starts[number], data.ends[number])
    together = np.concatenate(lengths)
    yield f"{len(questions):,} questions, {len(together):,} rows: ours", f"{seconds[0]:.2f} s", ""
    yield "the same in plain Python", f"{seconds[1]:.2f} s", ""
    yield "plain : ours", f"{seconds[1] / seconds[0]:.1f}", "at least 10"
    yield "rows with other pieces", str(other_rows), "0"
    yield "rows with another place of the answer", str(other_answers), "few"
    yield "padding of their evaluation batches of 64", f"{padding(together):.1%}", "under 5%"


def made_table(path: Path) -> Path:
    """Write parts of the manual as short and as many as the phrases of SST-2, with meaningless labels."""
    generator = np.random.default_rng(0)
    words = manual_text(4 * MEGABYTE, seed=1).split()
    sizes = generator.integers(*_SST2_WORDS, size=_SST2_ROWS)
    starts = generator.integers(len(words) - max(_SST2_WORDS), size=_SST2_ROWS)
    with path.open("w", encoding="utf-8") as file:
        file.write("sentence\tlabel\n")
        for row, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            file.write(" ".join(words[start : start + size]) + f"\t{row % 2}\n")
    return path


def made_questions(path: Path) -> Path:
    """Write parts of the manual as contexts; questions and answers are words of their context."""
    generator = np.random.default_rng(0)
    words = manual_text(4 * MEGABYTE, seed=1).split()
    paragraphs = []
    for number in range(400):
        start, size = (
            int(generator.integers(len(words) - max(_CONTEXT_WORDS))),
            int(generator.integers(*_CONTEXT_WORDS)),
        )
        context = words[start : start + size]
        qas = []
        for _ in range(_QUESTIONS_OF_A_CONTEXT):
            place = int(generator.integers(size - 5))
            answer = " ".join(context[place : place + 1 + int(generator.integers(4))])
            at = len(" ".join([*context[:place], ""]))
            question = " ".join(generator.choice(words, 10))
            qas.append(
                {"id": f"{number}-{len(qas)}", "question": question, "answers": [{"text": answer, "answer_start": at}]}
            )
        paragraphs.append({"context": " ".join(context), "qas": qas})
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "", "paragraphs": paragraphs}]}), encoding="utf-8")
    return path


def padding(lengths: np.ndarray) -> float:
    """The share of padding in evaluation batches."""
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in evaluation_batches(lengths, 64))
    return 1 - int(lengths.sum()) / padded


if __name__ == "__main__":
    main()
