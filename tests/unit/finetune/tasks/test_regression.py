"""Scores that are no numbers for a model are refused with their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.finetune.tasks.regression import Regression
from reader.errors import DataError
from reader.tokenizers.load import load_tokenizer


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (str(10**400), "the score has 401 digits, which is too many for a number"),
        ("-1e39", r"the score is -1e\+39; it must be a finite number, of magnitude 3.4e\+38 at most"),
    ],
)
def test_a_score_too_large_for_a_model_is_refused_with_its_line(tmp_path: Path, score: str, message: str) -> None:
    vocab, table = tmp_path / "vocab.txt", tmp_path / "table.jsonl"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "x"]) + "\n")
    table.write_text('{"a": "x", "label": 3e38}\n' + f'{{"a": "x", "label": {score}}}\n')
    task = Regression(text_a="a", text_b=None, label="label", max_length=16, metric="pearson", header=True)
    with pytest.raises(DataError, match=rf"table\.jsonl:2: column 'label': {message}"):
        task.read(table, load_tokenizer(vocab), labelled=True, strict=True)
    data = task.read(table, load_tokenizer(vocab), labelled=True, strict=False)
    assert data.labels is not None
    assert (data.labels.tolist(), [line for line, _ in data.problems]) == ([np.float32(3e38)], [2])
