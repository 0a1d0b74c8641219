"""SuperGLUE's files in their published layout, with a few rows of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PASSAGE = "Mia Stone and Leo met in Bern on Monday.\n@highlight\nThe talks in Bern lasted two days"


def record(idx: int, answers: bool) -> dict[str, Any]:
    """A passage of ReCoRD with two queries."""
    entities = [
        {"start": PASSAGE.index(text), "end": PASSAGE.index(text) + len(text) - 1}
        for text in ("Mia Stone", "Leo", "Bern")
    ]
    found = []
    for number, (query, place) in enumerate([("@placeholder has a bear in its arms", 2), ("She is @placeholder", 0)]):
        span = entities[place]
        answer = {**span, "text": PASSAGE[span["start"] : span["end"] + 1]}
        found.append({"query": query, "idx": 2 * idx + number, **({"answers": [answer]} if answers else {})})
    return {"source": "Paper", "passage": {"text": PASSAGE, "entities": entities}, "qas": found, "idx": idx}


def multirc(idx: int, labelled: bool) -> dict[str, Any]:
    """A passage of MultiRC with two questions; the numbers of questions and answers go on over all passages."""
    questions = [
        {
            "question": question,
            "answers": [
                {"text": text, "idx": 4 * idx + 2 * number + place, **({"label": place} if labelled else {})}
                for place, text in enumerate(texts)
            ],
            "idx": 2 * idx + number,
        }
        for number, (question, texts) in enumerate([("Who ran?", ("a dog", "the cat")), ("Why?", ("fear", "for fun"))])
    ]
    passage = {"text": "The cat ran for fun. The dog slept.", "questions": questions}
    return {"idx": idx, "version": 1.1, "passage": passage}


def _wsc(idx: int) -> dict[str, Any]:
    text = 'Ann thanked "Old Ben," because he had helped.'
    target = {"span1_index": 2, "span1_text": "Old Ben", "span2_index": 5, "span2_text": "he"}
    return {"text": text, "target": target, "idx": idx}


def _wic(idx: int) -> dict[str, Any]:
    one, two = "The bank of the river was steep.", "She works in a bank."
    places = {"start1": 4, "end1": 8, "start2": 15, "end2": 19, "version": 1.1}
    return {"word": "bank", "sentence1": one, "sentence2": two, "idx": idx, **places}


def _copa(idx: int) -> dict[str, Any]:
    choices = {"choice1": "It had rained.", "choice2": "It was noon."}
    return {"premise": "The street was wet.", **choices, "question": ("cause", "effect")[idx % 2], "idx": idx}


_BOOLQ = {"question": "is the sea salty", "passage": "Sea water -- The water of the sea holds salt."}
_CB = {"premise": "A: I doubt that he came.", "hypothesis": "he came"}
_RTE = {"premise": "Two dogs ran in a park.", "hypothesis": "Dogs ran."}
_FLAT: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "BoolQ": (lambda idx: {**_BOOLQ, "idx": idx}, (True, False)),
    "CB": (lambda idx: {**_CB, "idx": idx}, ("contradiction", "entailment", "neutral")),
    "COPA": (_copa, (0, 1)),
    "RTE": (lambda idx: {**_RTE, "idx": idx}, ("entailment", "not_entailment")),
    "WiC": (_wic, (True, False)),
    "WSC": (_wsc, (True, False)),
}


def write_superglue(folder: Path, rows: int = 4) -> Path:
    """All folders with train.jsonl, val.jsonl and test.jsonl, and the two diagnostic sets."""
    for name, (row, labels) in _FLAT.items():
        for split in ("train", "val", "test"):
            found = [row(idx) for idx in range(rows)]
            if split != "test":
                found = [{**cells, "label": labels[idx % len(labels)]} for idx, cells in enumerate(found)]
            _write(folder / name / f"{split}.jsonl", found)
    for split in ("train", "val", "test"):
        _write(folder / "MultiRC" / f"{split}.jsonl", [multirc(idx, split != "test") for idx in range(rows)])
        _write(folder / "ReCoRD" / f"{split}.jsonl", [record(idx, split != "test") for idx in range(rows)])
    both = {"idx": 0, "label": "entailment"}
    pair = {"sentence1": "The cat sat.", "sentence2": "A cat sat.", "logic": "", **both}
    _write(folder / "AX-b" / "AX-b.jsonl", [pair, {**pair, "idx": 1, "label": "not_entailment"}])
    _write(folder / "AX-g" / "AX-g.jsonl", [{**_RTE, "pair_id": 7, **both}])
    return folder


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
