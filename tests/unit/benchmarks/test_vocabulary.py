"""The vocabulary of a suite that starts from nothing: of all tables that can be read, and of no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from ernie_paddle.benchmarks.suite import load_suite
from ernie_paddle.benchmarks.vocabulary import train_vocabulary
from propeller.errors import UserError
from propeller.run.run_folder import FolderLock
from reader.errors import DataError

TASKS = list(load_suite("glue").benchmarks.values())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """RTE with text, WNLI without its columns, both with an empty development table; the others are not there."""
    for task, lines in {"RTE": ["sentence1\tsentence2", "zebra ran\tzebra sat"], "WNLI": ["a\tb", "c\td"]}.items():
        folder = tmp_path / "data" / task
        folder.mkdir(parents=True)
        (folder / "train.tsv").write_text("\n".join(lines) + "\n")
        (folder / "dev.tsv").touch()
    return tmp_path / "data"


def test_a_table_that_cannot_be_read_is_named_and_passed_over(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train_vocabulary(tmp_path / "out", TASKS, data, "tiny")
    assert "the vocabulary lacks text of WNLI: " in capsys.readouterr().err
    known = set((folder / "vocab.txt").read_text(encoding="utf-8").split())
    assert {"z", "##b"} <= known
    assert not {"c", "d"} & known
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".lock", "vocab"]
    before = (folder / "vocab.txt").stat().st_mtime_ns
    assert train_vocabulary(tmp_path / "out", TASKS, data, "tiny") == folder
    assert (folder / "vocab.txt").stat().st_mtime_ns == before


def test_one_of_other_text_or_size_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train_vocabulary(out, TASKS, data, "tiny")
    with pytest.raises(UserError, match="was made from 4000 pieces, not 30522; to use it anyway give --vocab"):
        train_vocabulary(out, TASKS, data, "base")
    with open(data / "RTE" / "train.tsv", "a") as table:
        table.write("one\tmore\n")
    with pytest.raises(UserError, match=r"was made from other text \(RTE\)"):
        train_vocabulary(out, TASKS, data, "tiny")
    (data / "RTE" / "train.tsv").unlink()
    with pytest.raises(DataError, match=r"no table in .* has text to train a vocabulary on"):
        train_vocabulary(tmp_path / "other", TASKS, data, "tiny")


def test_two_processes_do_not_train_it_at_once(data: Path, tmp_path: Path) -> None:
    with FolderLock(tmp_path / "out"), pytest.raises(UserError, match="is in use by another process"):
        train_vocabulary(tmp_path / "out", TASKS, data, "tiny")
