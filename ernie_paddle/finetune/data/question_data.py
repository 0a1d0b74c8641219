"""Questions and contexts as rows [CLS] question [SEP] part of the context [SEP] (BERT 4.2), vectorized over pieces.

Shape suffixes: Q questions, W rows (windows), P context pieces of all rows, C pieces of all contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propeller.graph.inputs import IGNORE
from reader.batches.rows import Encoded, RowLayout, Runs, join_runs, ranges
from reader.batches.windows import Windows, cut_windows, widest_context
from reader.tables.questions import Question
from reader.tokenizers.base import SpanBatch, Tokenizer

_TEXT = np.int64(1) << 32


@dataclass(frozen=True)
class QuestionDataset:
    """Questions and the rows made from them.

    Attributes:
        source: Name of the file.
        questions: Usable questions.
        context_of: Number of the context of each question; int64 [Q].
        pieces: Pieces of all contexts, with their places in the text.
        windows: Part of its question's context in each row.
        encoded: The rows.
        context_at: Position of the first context piece in each row; int64 [W].
        trusted: For each context piece of each row, whether this row shows most of its context; bool [P].
        starts: Position of the first answer piece in each row, 0 ([CLS]) if it is not in this window, -100 if the
            question cannot be trained on; int64 [W], None without labels.
        ends: The same for the last answer piece.
        problems: (number, reason) of unusable questions.
        pad_id: Id of [PAD].
        unasked: Unusable questions that count as wrong in a score, because they are blank.
        left_out: Numbers of the questions that are not scored, because they have no reference answer.
        unusable: All unusable questions.
        untrained: Number of questions that training skips because no answer is at its stated place (0 before
            `for_training`: a score counts them).
    """

    source: str
    questions: list[Question]
    context_of: NDArray[np.int64]
    pieces: SpanBatch
    windows: Windows
    encoded: Encoded
    context_at: NDArray[np.int64]
    trusted: NDArray[np.bool_]
    starts: NDArray[np.int64] | None
    ends: NDArray[np.int64] | None
    problems: list[tuple[int, str]]
    pad_id: int
    unasked: tuple[Question, ...] = ()
    left_out: tuple[int, ...] = ()
    unusable: tuple[Question, ...] = ()
    untrained: int = 0

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.encoded)

    @cached_property
    def lines(self) -> list[int]:
        """The number of each row's question."""
        return [self.questions[number].number for number in self.windows.texts]

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Length of each row."""
        return self.encoded.lengths

    @property
    def examples(self) -> int:
        """The number of questions that a score counts, including those that cannot be asked."""
        return len(self.questions) + len(self.unasked)

    @property
    def mistakes(self) -> list[tuple[int, str]]:
        """The `problems` that published sets do not have, which are all but blank questions and those of `left_out`."""
        known = {question.number for question in self.unasked}.union(self.left_out)
        return [(number, reason) for number, reason in self.problems if number not in known]

    @property
    def uncounted(self) -> int:
        """The number of unusable questions except those of `unasked`, plus `untrained`."""
        return len(self.problems) - len(self.unasked) + self.untrained

    @property
    def answerable(self) -> NDArray[np.bool_]:
        """Whether each question has an answer: bool [Q], followed by those of `unasked`."""
        return np.array([bool(question.answers) for question in (*self.questions, *self.unasked)], dtype=np.bool_)

    def describe(self) -> str:
        """The numbers of questions, of rows, of questions not trained on, and of questions that count as wrong."""
        said = f"{len(self.questions):,} questions in {len(self):,} windows"
        if self.unasked:
            first = self.unasked[0]
            said += (
                f", and {len(self.unasked):,} that cannot be asked and count as wrong (the first: question "
                f"{first.number}, {first.id}: {first.problem})"
            )
        if repeated := [question for question in self.questions if question.repeated]:
            first = repeated[0]
            said += (
                f", {len(repeated):,} with the id of an earlier one (the first: question {first.number}, {first.id})"
            )
        if self.left_out:
            said += f", {len(self.left_out):,} without a reference answer skipped"
        wrong = self._misplaced
        if not len(wrong):
            return said
        first = self.questions[wrong[0]]
        which = f"the first: question {first.number}, {first.id}: {first.misplaced()}"
        return f"{said} ({len(wrong):,} have no answer at the stated place and are not trained on; {which})"

    @property
    def _misplaced(self) -> NDArray[np.int64]:
        """Indices in `questions` of those without an answer at its stated place."""
        if self.starts is None:
            return np.zeros(0, np.int64)
        return np.setdiff1d(np.arange(len(self.questions)), self.windows.texts[self.starts != IGNORE])

    def for_training(self) -> QuestionDataset:
        """A copy without `unasked` and without the rows of questions whose answers are not at their stated places."""
        assert self.starts is not None
        assert self.ends is not None
        rows = np.flatnonzero(self.starts != IGNORE)
        if len(rows) == len(self):
            return replace(self, unasked=()) if self.unasked else self
        windows = Windows(self.windows.texts[rows], self.windows.starts[rows], self.windows.lengths[rows])
        bounds = np.cumsum(self.windows.lengths) - self.windows.lengths
        return replace(
            self,
            windows=windows,
            encoded=self.encoded.take(rows),
            context_at=self.context_at[rows],
            trusted=self.trusted[ranges(bounds[rows], windows.lengths)],
            starts=self.starts[rows],
            ends=self.ends[rows],
            unasked=(),
            untrained=len(self._misplaced),
        )

    def content(self) -> list[NDArray[Any]]:
        """The pieces and labels."""
        arrays: list[NDArray[Any]] = [self.encoded.ids, self.context_at]
        if self.starts is not None and self.ends is not None:
            arrays += [self.starts, self.ends]
        return arrays


def encode_questions(
    source: str,
    questions: list[Question],
    problems: list[tuple[int, str]],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    max_query_length: int,
    stride: int,
    layout: RowLayout,
    labelled: bool,
    unasked: Sequence[Question] = (),
    left_out: Sequence[int] = (),
) -> QuestionDataset:
    """Tokenize contexts (each one once) and questions, cut contexts into windows, and locate the answers."""
    numbers: dict[str, int] = {}
    context_of = np.array([numbers.setdefault(question.context, len(numbers)) for question in questions], np.int64)
    pieces = tokenizer.encode_spans(list(numbers))
    asked = tokenizer.encode_batch([question.text for question in questions])
    lengths_Q = np.minimum(np.diff(asked.offsets), max_query_length)
    bounds_Q = pieces.offsets[context_of]
    windows = cut_windows(np.diff(pieces.offsets)[context_of], max_length - layout.specials(2) - lengths_Q, stride)
    texts = windows.texts
    encoded = join_runs(
        tokenizer.vocab,
        layout,
        Runs(asked.ids, asked.offsets[texts], lengths_Q[texts]),
        Runs(pieces.ids, bounds_Q[texts] + windows.starts, windows.lengths),
    )
    context_at = layout.text_start([lengths_Q[texts]], 1)
    starts = ends = None
    if labelled:
        first_Q, last_Q = _answer_pieces(questions, context_of, pieces)
        first, last = first_Q[texts] - windows.starts, last_Q[texts] - windows.starts
        inside = (first_Q[texts] >= 0) & (first >= 0) & (last < windows.lengths)
        unusable = first_Q[texts] == IGNORE
        starts, ends = (np.where(unusable, IGNORE, np.where(inside, context_at + place, 0)) for place in (first, last))
    return QuestionDataset(
        source=source,
        questions=questions,
        context_of=context_of,
        pieces=pieces,
        windows=windows,
        encoded=encoded,
        context_at=context_at,
        trusted=widest_context(windows),
        starts=starts,
        ends=ends,
        problems=problems,
        pad_id=tokenizer.vocab.pad,
        unasked=tuple(unasked),
        left_out=tuple(left_out),
    )


def _answer_pieces(
    questions: Sequence[Question], context_of: NDArray[np.int64], pieces: SpanBatch
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last piece of each answer, as indices in its context: int64 [Q] both.

    -1 for a question without an answer, IGNORE if the answer is not at its stated place or no piece shows it.
    """
    usable = [question.usable_answer() for question in questions]
    begins = np.array([answer.start if answer else 0 for answer in usable], np.int64)
    ends = np.array([answer.start + len(answer.text) if answer else 0 for answer in usable], np.int64)
    # Places in all contexts as one ascending sequence.
    text_C = np.repeat(np.arange(len(pieces.offsets) - 1), np.diff(pieces.offsets)) * _TEXT
    first = np.searchsorted(text_C + pieces.ends, context_of * _TEXT + begins, side="right")
    last = np.searchsorted(text_C + pieces.begins, context_of * _TEXT + ends, side="left") - 1
    sound = np.array([answer is not None for answer in usable], np.bool_) & (first <= last)
    bounds = pieces.offsets[context_of]
    none = np.where([bool(question.answers) for question in questions], IGNORE, -1).astype(np.int64)
    return np.where(sound, first - bounds, none), np.where(sound, last - bounds, none)
