"""Finds answers from start and end scores: the best spans of all windows of a question, as texts (BERT 4.2 and 4.3).

BERT's release only considers the 20 best starts and the 20 best ends; this implementation considers all spans.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ernie_paddle.finetune.data.question_data import QuestionDataset


@dataclass(frozen=True)
class Span:
    """A part of a context: characters begin to end - 1, their text, and the sum of start and end score."""

    text: str
    begin: int
    end: int
    score: float


@dataclass(frozen=True)
class Found:
    """The spans found for each question.

    Attributes:
        spans: Best spans with distinct texts, best first; empty if the tokenizer finds no piece in the context.
        no_answer: Score of [CLS] as start and end, in the window where it is lowest; float64 [Q].
    """

    spans: list[list[Span]]
    no_answer: NDArray[np.float64]

    @property
    def texts(self) -> list[str]:
        """The best text of each question."""
        return [spans[0].text if spans else "" for spans in self.spans]

    @property
    def margins(self) -> NDArray[np.float64]:
        """The score of no answer minus that of the best span: float64 [Q]; 0 without a span."""
        best = [spans[0].score if spans else none for spans, none in zip(self.spans, self.no_answer, strict=True)]
        return self.no_answer - np.array(best, dtype=np.float64)


def find_spans(
    start_logits: NDArray[np.float32], end_logits: NDArray[np.float32], data: QuestionDataset, n_best: int, longest: int
) -> Found:
    """Find the best spans of each question.

    A span begins at a piece in the window that shows most of the piece's context, ends in the same window, and has at
    most `longest` pieces.

    Args:
        start_logits: Scores of the positions of all rows, concatenated.
        end_logits: The same for the ends.
        data: The rows.
        n_best: Number of spans for each question.
        longest: Pieces of the longest span.
    """
    windows, offsets = data.windows, data.encoded.offsets
    no_answer = np.full(len(data.questions), np.inf)
    cls = start_logits[offsets[:-1]].astype(np.float64) + end_logits[offsets[:-1]]
    np.minimum.at(no_answer, windows.texts, cls)
    parts: list[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    bounds = np.cumsum(windows.lengths) - windows.lengths
    for row, (length, at) in enumerate(zip(windows.lengths, offsets[:-1] + data.context_at, strict=True)):
        trusted = data.trusted[bounds[row] : bounds[row] + length]
        starts = np.where(trusted, start_logits[at : at + length].astype(np.float64), -np.inf)
        scores, first, last = best_pairs(starts, end_logits[at : at + length].astype(np.float64), n_best, longest)
        parts.append((scores, first + windows.starts[row], last + windows.starts[row], np.full(len(first), row)))
    scores, first, last, rows = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    question = windows.texts[rows]
    base = data.pieces.offsets[data.context_of[question]]
    begins, ends = data.pieces.begins[base + first], data.pieces.ends[base + last]
    spans: list[list[Span]] = [[] for _ in data.questions]
    seen: list[set[str]] = [set() for _ in data.questions]
    for place in np.lexsort((last, first, -scores, question)).tolist():
        number = int(question[place])
        if len(spans[number]) == n_best:
            continue
        span = _span(data.questions[number].context, int(begins[place]), int(ends[place]), float(scores[place]))
        if span.text and span.text not in seen[number]:
            seen[number].add(span.text)
            spans[number].append(span)
    return Found(spans, no_answer)


def best_pairs(
    starts: NDArray[np.float64], ends: NDArray[np.float64], n_best: int, longest: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The `n_best` largest starts[i] + ends[j] with i <= j < i + longest: sums, i and j; scores of -inf are excluded.

    Args:
        starts: [L].
        ends: [L].
        n_best: Number of pairs to find; fewer are returned if fewer exist.
        longest: Pieces of the longest span.
    """
    length = len(starts)
    if not length:
        return np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)
    longest = min(longest, length)
    padded = np.concatenate([ends, np.full(longest - 1, -np.inf)])
    sums = (starts[:, None] + sliding_window_view(padded, longest)).ravel()
    kept = np.argpartition(-sums, n_best - 1)[:n_best] if len(sums) > n_best else np.arange(len(sums))
    kept = kept[sums[kept] > -np.inf]
    first, more = np.divmod(kept, longest)
    return sums[kept], first, first + more


def _span(context: str, begin: int, end: int, score: float) -> Span:
    """The span, extended by combining marks after its last letter, which tokenizers may drop."""
    while end < len(context) and unicodedata.combining(context[end]):
        end += 1
    return Span(context[begin:end], begin, end, score)
