"""Fixtures that every test may use."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

import propeller  # noqa: F401 - sets the process up before any test imports Paddle
from helpers.paths import ROOT

# A shell starts background jobs with Ctrl-C ignored, and their children inherit that; the tests of it need the default.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_DEFAULT = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data samples and golden outputs; tests that need it skip, saying so, where it is absent."""
    path = Path(os.environ.get("ERNIE_TEST_DATA", _DEFAULT))
    if not path.is_dir():
        pytest.skip(f"data samples are not at {path}; set ERNIE_TEST_DATA to their folder")
    return path


@pytest.fixture(scope="session")
def manual_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus of real text that needs no download: Python's own manual, with a held-out split."""
    from tokenizers import BertWordPieceTokenizer

    from ernie_paddle.manual_text import manual_topics, passages_of
    from reader.prepare.documents import prepare
    from reader.prepare.statistics import make_statistics

    folder = tmp_path_factory.mktemp("manual")
    documents = [passages_of(text) for _, text in sorted(manual_topics().items())]
    text = folder / "manual.jsonl"
    text.write_text("".join(json.dumps({"text": "\n\n".join(d), "language": "en"}) + "\n" for d in documents if d))
    trained = BertWordPieceTokenizer(lowercase=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained.train([str(text)], vocab_size=1000, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    prepare([text], folder / "corpus", folder / "vocab.txt", heldout=0.2, workers=0)
    make_statistics(folder / "corpus", 0)
    return folder / "corpus"
