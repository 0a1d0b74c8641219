"""Fine-tuning heads: which classes of other projects have them, under which names, and how to find a source's head.

Here every such head is `classifier.weight` [in, out] and `classifier.bias`. The names of the classes of Hugging Face
and PaddleNLP consist of the prefix of the family, "For" and one of `KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

SEQUENCE, TOKEN, QUESTION, CHOICE = (
    "SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice",
)  # fmt: skip
KINDS = (SEQUENCE, TOKEN, QUESTION, CHOICE)
WEIGHT = "classifier.weight"
_POOLER = "ernie.pooler.dense.weight"
_STATIC_NAMES = {TOKEN: "cls_seq_label_out", QUESTION: "cls_mrc_out"}
_CLASS = re.compile(rf"[A-Z]\w*For({'|'.join(KINDS)})")
_TELLING = {"qa_outputs.weight": QUESTION, **{f"{name}_w": kind for kind, name in _STATIC_NAMES.items()}}
_PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")


@dataclass(frozen=True)
class Head:
    """The meaning of `classifier`.

    Attributes:
        kind: One of `KINDS`.
        labels: Classes in the order of the outputs, if the source of a sequence or token classification names them.
        problem_type: Loss of a sequence classification (Hugging Face's term), if known.
        n_choices: Number of choices of a row, if known.
    """

    kind: str
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    n_choices: int | None = None

    @property
    def hf_name(self) -> str:
        """Hugging Face's name of the layer."""
        return "qa_outputs" if self.kind == QUESTION else "classifier"

    @property
    def static_name(self) -> str:
        """The static releases' name of the layer, without `_w` and `_b`."""
        return _STATIC_NAMES.get(self.kind, "cls_out")

    def config_keys(self, n_outputs: int) -> dict[str, Any]:
        """The keys of a `config.json` for a head with this number of outputs.

        A multiple-choice head has one output whatever the configuration says, and the same weights for any number of
        choices; only PaddleNLP's class needs the number.
        """
        if self.kind == CHOICE:
            return {} if self.n_choices is None else {"num_choices": self.n_choices}
        found: dict[str, Any] = {"num_labels": n_outputs}
        if self.problem_type is not None:
            found["problem_type"] = self.problem_type
        if self.labels:
            found["id2label"] = {str(number): label for number, label in enumerate(self.labels)}
            found["label2id"] = {label: number for number, label in enumerate(self.labels)}
        return found


@dataclass(frozen=True)
class FoundHead:
    """What is known about the head of some weights.

    Attributes:
        head: The head; None if there is none, or none that other projects have.
        only_ours: Reason why no other layout can hold these weights; None if others can.
        notes: Sentences for the report.
    """

    head: Head | None = None
    only_ours: str | None = None
    notes: tuple[str, ...] = ()


def find_head(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], sources: Mapping[str, str]) -> FoundHead:
    """Find the head in a source that was not fine-tuned here.

    Args:
        values: The source's configuration, which may name the class; empty if there is none.
        arrays: Arrays under our names.
        sources: Name in the source of each array.
    """
    if WEIGHT not in arrays:
        return FoundHead()
    named = _class_kind(values)
    kind = _TELLING.get(sources[WEIGHT]) or named or (SEQUENCE if _POOLER in arrays else None)
    if kind is None:
        return FoundHead(
            only_ours="nothing says what its classifier is for (no class in its configuration, and no pooler)"
        )
    notes = []
    if sources[WEIGHT] not in _TELLING and named is None:
        notes.append(f"no class is named, but there is a pooler: {sources[WEIGHT]} is read as a classifier of texts")
    labels = labels_of(values) if kind in (SEQUENCE, TOKEN) else ()
    n_outputs = arrays[WEIGHT].shape[-1]
    if len(labels) not in (0, n_outputs):
        notes.append(
            f"id2label names {len(labels)} classes, but the head has {n_outputs} outputs; the names are dropped"
        )
        labels = ()
    problem, n_choices = values.get("problem_type"), values.get("num_choices")
    head = Head(
        kind,
        labels,
        problem_type=problem if kind == SEQUENCE and problem in _PROBLEMS else None,
        n_choices=n_choices if kind == CHOICE and isinstance(n_choices, int) else None,
    )
    return FoundHead(head, notes=tuple(notes))


def labels_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes that a configuration names (`id2label`)."""
    found = values.get("id2label")
    if not isinstance(found, dict) or not all(str(key).isdigit() for key in found):
        return ()
    return tuple(str(found[key]) for key in sorted(found, key=int))


def _class_kind(values: Mapping[str, Any]) -> str | None:
    """The kind of the class that a configuration names."""
    named = values.get("architectures")
    for name in [*(named if isinstance(named, list) else ()), values.get("init_class")]:
        match = _CLASS.fullmatch(str(name))
        if match:
            return match[1]
    return None
