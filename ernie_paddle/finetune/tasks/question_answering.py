"""Answers as parts of a text: scores for start and end at every position (BERT 4.2, and 4.3 with "no answer" at [CLS]).

A long context is cut into windows; the answer is a part of the text, located by the places of its pieces.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ernie_paddle import option_kinds as kinds
from ernie_paddle.checkpoints.heads import QUESTION, FoundHead, Head
from ernie_paddle.finetune.data.question_data import QuestionDataset, encode_questions
from ernie_paddle.finetune.metrics.answer_metrics import (
    SCORINGS,
    answer_metrics,
    answer_scores,
    best_threshold,
    fitting_scoring,
)
from ernie_paddle.finetune.metrics.spans import Found, find_spans
from ernie_paddle.finetune.task_type import TaskType, layout_of
from ernie_paddle.finetune.tasks.text_task import RDROP
from ernie_paddle.models.config import ErnieConfig
from ernie_paddle.models.inputs import TEXT_INPUTS
from ernie_paddle.option_kinds import Option
from propeller.errors import UserError
from propeller.graph.inputs import IGNORE, Input
from propeller.graph.losses import LossTerm
from propeller.values import Arrays
from reader.batches.rows import BERT_LAYOUT, RowLayout, pad_rows
from reader.errors import DataError
from reader.tables.questions import Question, read_questions
from reader.tables.table import shown_name
from reader.tokenizers.base import Tokenizer

POSITIONS = ("start_positions", "end_positions")
_METRICS = ("f1", "exact_match")
_LEAST_CONTEXT = 8
_NOWHERE = -1e9


QUESTION_OPTIONS = (
    Option(
        "doc_stride",
        kinds.positive_int,
        None,
        "stride in tokens between the windows of a long context",
        shown_default="128",
    ),
    Option("max_query_length", kinds.positive_int, 64, "maximum length of a question in tokens"),
    Option("max_answer_length", kinds.positive_int, 30, "maximum length of an answer in tokens"),
    Option("n_best", kinds.positive_int, 20, "number of candidate answers per question"),
    Option(
        "scoring",
        str,
        "auto",
        "definition of the metrics; auto chooses by the training data: squad2 if some questions have no answer, "
        "cmrc2018 if most answers are Chinese, else squad",
        ("auto", *SCORINGS),
        elsewhere="definition of the metrics, such as mlqa_de for German after training in English",
        of_labels=True,
    ),
    RDROP,
)


@dataclass(frozen=True)
class QuestionAnswering(TaskType):
    """Extractive question answering.

    Attributes:
        max_length: Tokens of the longest row.
        doc_stride: Stride in tokens between the windows of a context.
        max_query_length: Maximum tokens of a question; longer ones are truncated.
        max_answer_length: Maximum tokens of an answer.
        n_best: Number of answers over which the probabilities are normalized.
        scoring: Definition of the metrics, one of SCORINGS.
        metric: Metric that selects the best checkpoint.
        unanswerable: Whether questions may have no answer.
        threshold: No answer is given if its score exceeds that of the best answer by more; fitted to the development
            data.
    """

    type: ClassVar[str] = "question_answering"
    options: ClassVar[tuple[Option, ...]] = QUESTION_OPTIONS
    in_percent: ClassVar[bool] = True
    usual_length: ClassVar[int] = 384
    counted: ClassVar[str] = "question"
    position_outputs: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")

    max_length: int
    doc_stride: int
    max_query_length: int
    max_answer_length: int
    n_best: int
    scoring: str
    metric: str
    unanswerable: bool
    threshold: float = 0.0
    layout: RowLayout = field(default=BERT_LAYOUT, kw_only=True)

    def __post_init__(self) -> None:
        if self.metric not in _METRICS:
            raise UserError(f"metric {self.metric!r} is not a metric of {self.type}: {', '.join(_METRICS)}")
        if self.scoring not in SCORINGS:
            raise UserError(f"scoring {self.scoring!r} is not known: {', '.join(SCORINGS)}")
        least = self.max_query_length + self.layout.specials(2) + _LEAST_CONTEXT
        if self.max_length < least:
            raise UserError(
                f"max_length {self.max_length} leaves no room for a context next to a question of "
                f"{self.max_query_length} tokens; give at least {least}, or a smaller --max_query_length"
            )

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> QuestionAnswering:
        """Build the task from the options; the training data determine `unanswerable` and the scoring."""
        asked = list(read_questions(options.train, options.format, labelled=True))
        unanswerable = any(not question.answers and not question.problem for question in asked)
        # Only SQuAD 2.0's definition rewards giving no answer, whatever the language.
        automatic = "squad2" if unanswerable else fitting_scoring([q.answers[0].text for q in asked if q.answers])
        return cls(
            max_length=options.max_length,
            doc_stride=options.doc_stride or 128,
            max_query_length=options.max_query_length,
            max_answer_length=options.max_answer_length,
            n_best=options.n_best,
            scoring=automatic if options.scoring == "auto" else options.scoring,
            metric=options.metric or _METRICS[0],
            unanswerable=unanswerable,
        )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> QuestionAnswering:
        """Build the task from the result of `to_dict`."""
        known = {key: value for key, value in settings.items() if key != "type"}
        return cls(**{**known, **layout_of(known)})

    def with_layout(self, layout: RowLayout) -> QuestionAnswering:
        """These settings for a model that joins question and context in this way."""
        return replace(self, layout=layout)

    def read(
        self, path: str | Path, tokenizer: Tokenizer, *, labelled: bool, strict: bool, format: str = "auto"
    ) -> QuestionDataset:
        """Read a whole file.

        Blank questions of labelled sets are never refused, because published sets have some; nor are DuReader's
        questions without a reference answer, which are not scored.

        Raises:
            DataError: It is not a file of questions, or has none; with `strict` also if a question is unusable.
        """
        data = self._dataset(path, read_questions(path, format, labelled=labelled), tokenizer, labelled)
        if strict and data.mistakes:
            number, reason = data.mistakes[0]
            others = len(data.mistakes) - 1
            more = f" (and {others:,} more question{'s' if others > 1 else ''})" if others else ""
            advice = "correct the file, or skip such questions with --skip_unusable"
            raise DataError(f"{data.source}: question {number}: {reason}{more}; {advice}")
        if not len(data) and (strict or not data.mistakes):
            raise DataError(f"{data.source}: no questions" + (" that can be asked" if data.unasked else ""))
        return data

    def stream(
        self, path: str | Path, tokenizer: Tokenizer, *, chunk_rows: int, format: str = "auto"
    ) -> Iterator[QuestionDataset]:
        """Encode questions without answers in chunks."""
        asked = read_questions(path, format, labelled=False)
        while chunk := list(itertools.islice(asked, chunk_rows)):
            yield self._dataset(path, chunk, tokenizer, labelled=False)

    def inputs(self, labelled: bool) -> Sequence[Input]:
        """`input_ids`, `segment_ids`, `attention_mask` [B, T], with `labelled` also start and end of the answer [B]."""
        if not labelled:
            return TEXT_INPUTS
        return (*TEXT_INPUTS, *(Input(name, (None,), "int64", pad=IGNORE, ignore=IGNORE) for name in POSITIONS))

    def batch(self, data: QuestionDataset, rows: NDArray[np.int64], labelled: bool) -> Arrays:
        """Padded inputs of these rows, and with `labelled` their labels."""
        arrays: Arrays = pad_rows(data.encoded, rows, data.pad_id)
        if labelled:
            assert data.starts is not None
            assert data.ends is not None
            arrays |= {POSITIONS[0]: data.starts[rows], POSITIONS[1]: data.ends[rows]}
        return arrays

    def layer(self, config: ErnieConfig) -> Any:
        """Encoder and classifier of positions with two outputs (parameters `classifier.*`)."""
        from ernie_paddle.finetune.networks.layers import PositionModel

        return PositionModel(config, 2)

    def losses(self, layer: Any, values: Mapping[str, Any]) -> list[LossTerm]:
        """Half the cross-entropy of the start and half that of the end, both summed over the rows.

        Padding is excluded from the softmax, so that the loss of a row does not depend on its neighbours.
        """
        from ernie_paddle.models.losses import correct_sum, cross_entropy_sum

        terms = []
        for name, scores_BT in zip(POSITIONS, position_scores(layer(values), values["attention_mask"]), strict=True):
            total, hits = cross_entropy_sum(scores_BT, values[name], IGNORE), correct_sum(scores_BT, values[name])
            terms.append(LossTerm(name.removesuffix("_positions"), total, name, weight=0.5, hits=hits))
        return terms

    def divergence(self, first: Any, second: Any, values: Mapping[str, Any], weight: float) -> list[LossTerm]:
        """Half the divergence of the start plus half that of the end, over the positions [B, T, 2] of the rows."""
        from ernie_paddle.finetune.networks.divergence import symmetric_divergence

        terms = []
        mask_BT = values["attention_mask"]
        pairs = zip(position_scores(first, mask_BT), position_scores(second, mask_BT), strict=True)
        for name, (one_BT, two_BT) in zip(POSITIONS, pairs, strict=True):
            labelled_B = (values[name] != IGNORE).astype("float32")
            total = (symmetric_divergence(one_BT, two_BT) * labelled_B).sum()
            terms.append(LossTerm(f"rdrop_{name.removesuffix('_positions')}", total, name, 0.5 * weight))
        return terms

    @classmethod
    def texts(cls, path: str | Path, options: Mapping[str, Any]) -> Iterator[str]:
        """The questions and contexts."""
        before = ""
        for question in read_questions(path, str(options.get("format", "auto")), labelled=False):
            yield question.text
            if question.context != before:
                yield question.context
            before = question.context

    def remarks(self, options: argparse.Namespace) -> list[str]:
        """The definition of the scoring, if it was chosen automatically."""
        if options.scoring != "auto":
            return []
        return [f"--scoring auto: answers are scored as in {self.scoring}, which fits the training data"]

    def head(self) -> FoundHead:
        """The head of question answering."""
        return FoundHead(Head(QUESTION))

    def outputs(self, layer: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """`start_logits` and `end_logits` [B, T]."""
        from ernie_paddle.models.heads import span_logits

        start_BT, end_BT = span_logits(layer(values))
        return {"start_logits": start_BT, "end_logits": end_BT}

    def score(self, outputs: Arrays, data: QuestionDataset) -> dict[str, float]:
        """Exact match and F1 in percent, over all questions; blank questions cannot be asked and count as wrong.

        The published scripts of SQuAD 1.1 and CMRC 2018 do the same with a question that has no prediction.
        """
        return self._metrics(self._texts(self._found(outputs, data)), data)

    def baseline(self, data: QuestionDataset) -> dict[str, float]:
        """The metrics of never giving an answer."""
        return self._metrics([""] * len(data.questions), data)

    def tuned(self, outputs: Arrays, data: QuestionDataset) -> QuestionAnswering:
        """The task with the threshold that is best for `metric` on these questions; unchanged if all have answers."""
        if not self.unanswerable:
            return self
        found = self._found(outputs, data)
        given, withheld = (
            self._scores(texts, data)[:, 1 if self.metric == "f1" else 0]
            for texts in (found.texts, [""] * len(data.questions))
        )
        return replace(self, threshold=best_threshold(given - withheld, found.margins))

    def answer_columns(self) -> list[str]:
        """The columns of the question's id, the answer, its first character in the context, and its probability."""
        return ["id", "prediction", "start", "probability", *(["no_answer_score"] if self.unanswerable else [])]

    def answers(self, outputs: Arrays, data: QuestionDataset) -> dict[int, dict[str, Any]]:
        """The best answer of each question; JSON lines also get all of `n_best`. Unusable questions get the reason."""
        found = self._found(outputs, data)
        reasons = dict(data.problems)
        rows: dict[int, dict[str, Any]] = {
            question.number: {"id": question.id, "problem": reasons[question.number]} for question in data.unusable
        }
        for place, (question, text) in enumerate(zip(data.questions, self._texts(found), strict=True)):
            spans = found.spans[place]
            candidates = [(span.text, span.begin, span.score) for span in spans]
            if self.unanswerable or not spans:
                candidates.append(("", -1, float(found.no_answer[place])))
            scores = np.array([score for _, _, score in candidates])
            shares = np.exp(scores - scores.max())
            n_best = [
                {"text": candidate, "start": begin, "probability": float(share)}
                for (candidate, begin, _), share in zip(candidates, shares / shares.sum(), strict=True)
            ]
            chosen = next(item for item in n_best if item["text"] == text)
            row = {"id": question.id, "prediction": text, "start": chosen["start"]}
            row["probability"] = chosen["probability"]
            if self.unanswerable:
                row["no_answer_score"] = float(found.margins[place])
            rows[question.number] = {**row, "n_best": n_best}
        return rows

    def _found(self, outputs: Arrays, data: QuestionDataset) -> Found:
        starts, ends = (outputs[name] for name in self.position_outputs)
        return find_spans(starts, ends, data, self.n_best, self.max_answer_length)

    def _texts(self, found: Found) -> list[str]:
        withheld = found.margins > self.threshold if self.unanswerable else np.zeros(len(found.spans), np.bool_)
        return ["" if none else text for text, none in zip(found.texts, withheld, strict=True)]

    def _scores(self, texts: Sequence[str], data: QuestionDataset) -> NDArray[np.float64]:
        references = [[answer.text for answer in question.answers] for question in data.questions]
        return answer_scores(texts, references, self.scoring)

    def _metrics(self, texts: Sequence[str], data: QuestionDataset) -> dict[str, float]:
        asked = self._scores(texts, data)
        return answer_metrics(np.concatenate([asked, np.zeros((len(data.unasked), 2))]), data.answerable)

    def _dataset(
        self, path: str | Path, asked: Iterable[Question], tokenizer: Tokenizer, labelled: bool
    ) -> QuestionDataset:
        questions: list[Question] = []
        problems: list[tuple[int, str]] = []
        unasked: list[Question] = []
        unusable: list[Question] = []
        left_out: list[int] = []
        for question in asked:
            if labelled and question.blank:
                unasked.append(question)
            if question.left_out:
                left_out.append(question.number)
            if question.problem:
                unusable.append(question)
                problems.append((question.number, f"({question.id}) {question.problem}"))
            else:
                questions.append(question)
        data = encode_questions(
            shown_name(path),
            questions,
            problems,
            tokenizer,
            max_length=self.max_length,
            max_query_length=self.max_query_length,
            stride=self.doc_stride,
            layout=self.layout,
            labelled=labelled,
            unasked=unasked,
            left_out=left_out,
        )
        return replace(data, unusable=tuple(unusable))


def position_scores(logits_BT2: Any, mask_BT: Any) -> list[Any]:
    """Scores of the start and of the end, float32 [B, T] each, whose softmax excludes padding (mask 0)."""
    import paddle

    from ernie_paddle.models.heads import span_logits

    scores = [logits_BT.astype("float32") for logits_BT in span_logits(logits_BT2)]
    return [paddle.where(mask_BT == 0, paddle.full_like(scores_BT, _NOWHERE), scores_BT) for scores_BT in scores]
