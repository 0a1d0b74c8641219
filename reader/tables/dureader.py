"""Lines of DuReader 2.0 (He et al., 2018) as questions about one text each.

The text is the one that the baseline of the release reads: the most related paragraph of each document, in the order of
the documents, joined from its words (so without most spaces). A document that names no such paragraph (or -1)
contributes all its paragraphs. Reference answers are written by people and are seldom parts of the text. A model learns
the part of the text that the release found to be nearest to them: the words of the first of `answer_spans` in the first
of `answer_docs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_BETWEEN = "\n"
_NONE = -1


class DuReaderError(ValueError):
    """A record is not in the published layout; the message says where and why."""


@dataclass(frozen=True)
class DuReaderQuestion:
    """A question, its text, its reference answers, and the part of the text to learn, with its first position."""

    id: str
    question: str
    context: str
    references: tuple[str, ...]
    learnt: tuple[str, int] | None


def dureader_question(record: Mapping[str, Any]) -> DuReaderQuestion:
    """The question of one record, which is one line of a file.

    Raises:
        DuReaderError: the record is not in the published layout.
    """
    question = record.get("question")
    if not isinstance(question, str):
        raise DuReaderError("'question' is missing or not a text")
    references = record.get("answers", [])
    if not isinstance(references, list) or not all(isinstance(text, str) for text in references):
        raise DuReaderError("'answers' is not a list of texts")
    documents = record.get("documents")
    if not isinstance(documents, list) or not all(isinstance(document, dict) for document in documents):
        raise DuReaderError("'documents' is missing or not a list of objects")
    words = [_words(document, f"documents[{i}]") for i, document in enumerate(documents)]
    texts = ["".join(found) for found in words]
    return DuReaderQuestion(
        id=str(record.get("question_id", "")),
        question=question,
        context=_BETWEEN.join(filter(None, texts)),
        references=tuple(text for text in references if text.strip()),
        learnt=_learnt(record, words, texts),
    )


def _words(document: Mapping[str, Any], where: str) -> list[str]:
    """The words of a document that are read; its whole paragraphs where it is not segmented into words."""
    paragraphs = document.get("segmented_paragraphs")
    if paragraphs is None:
        texts = document.get("paragraphs")
        paragraphs = [[text] for text in texts] if isinstance(texts, list) else None
    if not isinstance(paragraphs, list) or not all(
        isinstance(words, list) and all(isinstance(word, str) for word in words) for words in paragraphs
    ):
        raise DuReaderError(f"{where} has no 'segmented_paragraphs' (lists of words) or 'paragraphs' (texts)")
    best = document.get("most_related_para", _NONE)
    if best == _NONE:
        return [word for number, words in enumerate(paragraphs) for word in ([_BETWEEN] if number else []) + words]
    if type(best) is not int or not 0 <= best < max(1, len(paragraphs)):
        raise DuReaderError(f"{where}: most_related_para is {best!r}, but it has {len(paragraphs)} paragraphs")
    return list(paragraphs[best]) if paragraphs else []


def _learnt(record: Mapping[str, Any], words: list[list[str]], texts: list[str]) -> tuple[str, int] | None:
    """The part to learn and its position; None where the record names none, or where its text is not as recorded."""
    spans, chosen, written = (record.get(key) or [] for key in ("answer_spans", "answer_docs", "fake_answers"))
    try:
        (first, last), document = spans[0], chosen[0]
        if not (0 <= document < len(words) and 0 <= first <= last < len(words[document])):
            return None
        text = "".join(words[document][first : last + 1])
        if written and written[0] != text:
            return None
        before = sum(len(found) + len(_BETWEEN) for found in texts[:document] if found)
        return text, before + len("".join(words[document][:first]))
    except (IndexError, KeyError, TypeError, ValueError):
        return None
