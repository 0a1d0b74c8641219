"""Tables of questions, a question answering task for them, and the scores of a model that knows all answers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ernie_paddle.finetune.data.question_data import QuestionDataset
from ernie_paddle.finetune.tasks.question_answering import QuestionAnswering

WORDS = [f"w{i}" for i in range(9)]


def answering(**changes: object) -> QuestionAnswering:
    settings = {
        "max_length": 40, "doc_stride": 128, "max_query_length": 8, "max_answer_length": 30, "n_best": 20,
        "scoring": "squad", "metric": "f1", "unanswerable": False,
    }  # fmt: skip
    return QuestionAnswering(**{**settings, **changes})  # type: ignore[arg-type]


def options(train: Path, **changes: object) -> argparse.Namespace:
    settings = {
        "train": str(train), "format": "auto", "text_a": None, "text_b": None, "label": None, "labels": None,
        "max_length": 40, "doc_stride": None, "max_query_length": 8, "max_answer_length": 30, "n_best": 20,
        "scoring": "auto", "metric": None,
    }  # fmt: skip
    return argparse.Namespace(**{**settings, **changes})


def row(question: str, context: str, *answers: tuple[str, int]) -> dict[str, Any]:
    return {
        "question": question,
        "context": context,
        "answers": [{"text": text, "answer_start": start} for text, start in answers],
    }


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def pointing(data: QuestionDataset, height: float = 10.0) -> dict[str, Any]:
    """Scores of a model that knows all answers: at the first and last piece, or at [CLS], of each row."""
    assert data.starts is not None
    assert data.ends is not None
    rng = np.random.default_rng(0)
    scores = {}
    for name, places in (("start_logits", data.starts), ("end_logits", data.ends)):
        logits = rng.normal(size=len(data.encoded.ids)).astype(np.float32) * 0.01
        logits[data.encoded.offsets[:-1] + np.maximum(places, 0)] = height
        scores[name] = logits
    return scores
