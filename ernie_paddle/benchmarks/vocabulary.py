"""A vocabulary for randomly initialized models, trained on the text of the tasks' training tables."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ernie_paddle.benchmarks.benchmark import Benchmark
from ernie_paddle.finetune.task_type import task_class
from propeller.errors import UserError
from propeller.run.checkpoint import sha256_file
from propeller.run.run_folder import FolderLock
from reader.errors import DataError
from reader.prepare.vocabulary import train_vocab

_PIECES = {"tiny": 4000, "small": 8000}
_USUAL_PIECES = 30522
_ORIGIN = "trained_on.json"


def train_vocabulary(output: Path, tasks: Iterable[Benchmark], data_dir: Path, size: str) -> Path:
    """Train a WordPiece vocabulary in `output`/vocab, unless it exists.

    Args:
        output: Folder of all results.
        tasks: Tasks whose text is used, as far as their tables exist: all of a suite, whichever are run, so that all
            runs have one vocabulary.
        data_dir: Folder of the benchmarks.
        size: Size of the model.

    Raises:
        DataError: No table has text, or there is too little text for a vocabulary.
        UserError: The existing vocabulary was trained on other text, or another process uses the folder.
    """
    folder, pieces = output / "vocab", _PIECES.get(size, _USUAL_PIECES)
    tables = dict(_training_tables(tasks, data_dir))
    wanted = {"pieces": pieces, "tables": {task.name: sha256_file(path)[:16] for task, path in tables.items()}}
    with FolderLock(output):
        if folder.is_dir():
            _check_origin(folder, wanted)
            return folder
        text, aside = output / "vocab_text.txt", output / ".tmp-vocab"
        with open(text, "w", encoding="utf-8") as lines:
            for task, table in tables.items():
                try:
                    read = task.as_in(table)
                    for found in task_class(read.type).texts(table, read.options):
                        lines.write(" ".join(found.split()) + "\n")
                except DataError as error:
                    print(f"the vocabulary lacks text of {task.name}: {error}", file=sys.stderr)
        if not text.stat().st_size:
            raise DataError(f"no table in {data_dir} has text to train a vocabulary on; see the reasons above")
        shutil.rmtree(aside, ignore_errors=True)
        train_vocab([text], aside, pieces)
        (aside / _ORIGIN).write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        text.unlink()
        aside.rename(folder)
    return folder


def _training_tables(tasks: Iterable[Benchmark], data_dir: Path) -> Iterator[tuple[Benchmark, Path]]:
    for task in tasks:
        with contextlib.suppress(UserError):  # a missing table is reported when the task is used
            yield task, task.tables(data_dir)[0]


def _check_origin(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a vocabulary of other text or another size.

    Raises:
        UserError: The vocabulary has other text or another size.
    """
    path = folder / _ORIGIN
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if known == wanted:
        return
    before, now = known.get("tables", {}), wanted["tables"]
    other = sorted(task for task in before.keys() | now.keys() if before.get(task) != now.get(task))
    why = f"other text ({', '.join(other)})" if other else f"{known['pieces']} pieces, not {wanted['pieces']}"
    raise UserError(
        f"{folder} was made from {why}; to use it anyway give --vocab {folder}, or choose another output folder"
    )
