"""A vocabulary for models that start from nothing: trained on the text of the tasks' own training tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.verbs import ernie
from reader.questions import read_questions
from reader.table import open_table
from reader.tagged import open_tagged
from reader.where import Selection, Where

_PIECES = {"tiny": 4000, "small": 8000}
_USUAL_PIECES = 30522


def train_vocabulary(output: Path, tasks: Sequence[Benchmark], data_dir: Path, size: str) -> Path:
    """Train a WordPiece vocabulary in `output`/vocab, unless it is there.

    Raises:
        DataError: a table cannot be read.
        VerbFailedError: the vocabulary could not be trained; the verb has said why.
    """
    folder = output / "vocab"
    if not folder.is_dir():
        text = output / "vocab_text.txt"
        with open(text, "w", encoding="utf-8") as lines:
            for task in tasks:
                for found in texts_of(task, task.tables(data_dir)[0]):
                    lines.write(" ".join(found.split()) + "\n")
        ernie("vocab", text, "--size", str(_PIECES.get(size, _USUAL_PIECES)), "--output", folder)
        text.unlink()
    return folder


def texts_of(task: Benchmark, table: Path) -> Iterator[str]:
    """The texts of a training table, one that several rows share once for all that follow each other.

    What cannot be read is passed over (fine-tuning will say so).
    """
    form = str(task.options.get("format", "auto"))
    if task.type == "question_answering":
        before = ""
        for question in read_questions(table, form, labelled=False):
            yield question.text
            if question.context != before:
                yield question.context
            before = question.context
    elif task.type == "labelling":
        column = task.options.get("text_a")
        with open_tagged(table, form, task.header, column, None, labelled=False) as sentences:
            yield from (" ".join(sentence.tokens) for sentence in sentences)
    else:
        columns = [task.options[name] for name in ("text_a", "text_b") if name in task.options]
        columns += task.options.get("choices", [])
        where = task.options.get("where")
        with open_table(table, form, task.header) as opened:
            last: dict[str, Any] = {}
            for row in Selection(opened.choose(*columns).rows, Where.parse(where) if where else None):
                found = {column: row.cells[column] for column in columns if row.cells.get(column)}
                yield from (str(text) for column, text in found.items() if text != last.get(column))
                last = found
