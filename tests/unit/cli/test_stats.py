"""`ernie prepare` leaves statistics beside the shards; `ernie stats` makes and prints them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ernie_paddle.cli.main import main
from reader.prepare.statistics import STATISTICS_FILE
from reader.tokenizers.vocab import SPECIALS


def test_statistics_of_a_prepared_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three documents, of 5 the 's, 4 cats and one dog."""
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "the", "cat", "dog", "cow"]))
    (tmp_path / "text.txt").write_text("the cat the cat\n\nthe cat cat the\n\nthe dog\n")
    corpus = tmp_path / "corpus"
    words = [str(tmp_path / "text.txt"), "--vocab", str(tmp_path / "vocab.txt"), "--output", str(corpus)]
    assert main(["prepare", *words, "--format", "lines", "--heldout", "0", "--workers", "0"]) == 0
    assert (corpus / STATISTICS_FILE).exists()
    capsys.readouterr()
    for _ in range(2):  # from the file, then counted
        assert main(["stats", str(corpus), "--top", "2"]) == 0
        lines = capsys.readouterr().out.splitlines()
        entropy = -sum(p * math.log(p) for p in (0.5, 0.4, 0.1))
        assert [line.split(maxsplit=1) for line in lines[1:3]] == [["documents", "3, of 3.3 tokens"], ["tokens", "10"]]
        assert f"unigram entropy   {entropy:.4f} nats per token" in lines[3]
        assert lines[4].split(maxsplit=1)[1] == "3 of 9 occur, 1 in one document"
        assert lines[-2].split(maxsplit=2)[2] == f"the 0.00, cat {math.log(3 / 2):.2f}"
        assert lines[-1].split(maxsplit=2)[2] == f"dog {math.log(3):.2f}, cat {math.log(3 / 2):.2f}"
        (corpus / STATISTICS_FILE).unlink()

    assert main(["stats", str(tmp_path)]) == 2
    assert "is not a finished corpus" in capsys.readouterr().err
