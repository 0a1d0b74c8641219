"""Exact match and F1 of extracted answers, by the definitions that the benchmarks published; all in percent.

`squad` and `squad2` are those of SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018), `mlqa_…` that of MLQA (Lewis et
al., 2020) for the language of the context, `cmrc2018` that of CMRC 2018 (Cui et al., 2019), used for DRCD, too.
"""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

_ARTICLES = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "ar": "\\sال^|ال",
    "hi": None,
    "zh": None,
}
SCORINGS = ("squad", "squad2", "cmrc2018", *(f"mlqa_{language}" for language in sorted(_ARTICLES)))
"""The published definitions, by name."""

_ROUNDING = 1e-5
"""Scores that differ by less, relative to their size, may change places on another processor."""
_CMRC_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")


def answer_scores(predictions: Sequence[str], answers: Sequence[Sequence[str]], scoring: str) -> NDArray[np.float64]:
    """Exact match and F1 of each prediction against the best of its reference answers.

    Args:
        predictions: [Q]; the empty text is "no answer".
        answers: [Q], the reference answers of each question; none means that it has no answer.
        scoring: one of SCORINGS.

    Returns:
        float64 [Q, 2] in [0, 1].
    """
    normalise, segments, overlap = _definition(scoring)
    empty = float(scoring == "squad2")  # the F1 of two texts of which nothing is left
    scores = np.zeros((len(predictions), 2))
    for row, (prediction, references) in enumerate(zip(predictions, answers, strict=True)):
        found, found_segments = normalise(prediction), segments(prediction)
        if scoring == "squad2":
            references = [reference for reference in references if normalise(reference)]
        for reference in references or [""]:
            exact = float(found == normalise(reference))
            f1 = _f1(found_segments, segments(reference), overlap, empty)
            scores[row] = np.maximum(scores[row], (exact, f1))
    return scores


def fitting_scoring(answers: Sequence[str]) -> str:
    """The definition for these answers: that of CMRC 2018 if most hold Chinese characters, else that of SQuAD 1.1."""
    chinese = sum(bool(_HAN.search(answer)) for answer in answers)
    return "cmrc2018" if 2 * chinese > len(answers) else "squad"


def answer_metrics(scores: NDArray[np.float64], answerable: NDArray[np.bool_]) -> dict[str, float]:
    """Means of `answer_scores` [Q, 2] in percent; where some questions have no answer, also for each of both kinds."""
    groups = {"": np.ones(len(scores), np.bool_)}
    if not answerable.all():
        groups |= {"answerable_": answerable, "unanswerable_": ~answerable}
    return {
        # Added up one after the other, as the published scripts do, so that all digits agree.
        f"{prefix}{name}": float(100.0 * np.cumsum(scores[chosen, column])[-1] / chosen.sum())
        for prefix, chosen in groups.items()
        if chosen.any()
        for column, name in enumerate(("exact_match", "f1"))
    }


def best_threshold(gains: NDArray[np.float64], no_answer: NDArray[np.float64]) -> float:
    """The threshold of the no-answer score that gives the best mean score (SQuAD 2.0's `best_f1_thresh`).

    Args:
        gains: [Q], the score of the best answer of each question minus that of giving none.
        no_answer: [Q], how much better no answer scores for the model than its best answer.

    Returns:
        t, so that no answer is to be given where `no_answer` > t: midway between the level of the last question that
        is answered and that of the first one that is not, so that rounding (another processor, another executor)
        turns no answer. Of several thresholds that are equally good the lowest; one below all levels if giving no
        answer at all is best, and one above all levels if answering every question is.
    """
    order = np.argsort(no_answer, kind="stable")
    sums, levels = np.cumsum(gains[order]), no_answer[order]
    # Questions whose levels differ by no more than rounding are answered together.
    apart = np.diff(levels) > _ROUNDING * np.maximum(1.0, np.abs(levels[1:]))
    last, first = np.append(apart, True), np.append(True, apart)
    sums, highest, lowest = sums[last], levels[last], levels[first]
    best = int(np.argmax(sums))
    if not sums[best] > 0:
        return float(lowest[0] - 1)
    return float(highest[best] + lowest[best + 1]) / 2 if best + 1 < len(lowest) else float(highest[best] + 1)


def _f1(found: list[str], wanted: list[str], overlap: Callable[[list[str], list[str]], int], empty: float) -> float:
    if not found and not wanted:
        return empty
    same = overlap(found, wanted)
    if same == 0:
        return 0.0
    precision, recall = 1.0 * same / len(found), 1.0 * same / len(wanted)
    return (2 * precision * recall) / (precision + recall)


_Definition = tuple[Callable[[str], str], Callable[[str], list[str]], Callable[[list[str], list[str]], int]]


@cache
def _definition(scoring: str) -> _Definition:
    """How a text is normalised for exact match, cut into segments for F1, and how many segments two texts share."""
    if scoring == "cmrc2018":
        return _cmrc_normalised, _cmrc_segments, _longest_common_run
    if scoring in ("squad", "squad2"):
        language, marks = "en", frozenset(string.punctuation)
    else:
        language, marks = scoring.removeprefix("mlqa_"), _unicode_marks()
    pattern = _ARTICLES[language]
    articles = re.compile(pattern) if pattern else None

    @lru_cache(maxsize=1 << 16)
    def normalise(text: str) -> str:
        text = "".join([character for character in text.lower() if character not in marks])
        if articles is not None:
            text = articles.sub(" ", text)
        if language == "zh":
            text = _HAN.sub(r" \g<0> ", text)
        return " ".join(text.split())

    return normalise, lambda text: normalise(text).split(), _shared_words


@cache
def _unicode_marks() -> frozenset[str]:
    marks = (chr(code) for code in range(sys.maxunicode) if unicodedata.category(chr(code)).startswith("P"))
    return frozenset(marks) | frozenset(string.punctuation)


def _shared_words(one: list[str], other: list[str]) -> int:
    return sum((Counter(one) & Counter(other)).values())


def _longest_common_run(one: list[str], other: list[str]) -> int:
    return SequenceMatcher(None, one, other, autojunk=False).find_longest_match(0, len(one), 0, len(other)).size


def _cmrc_normalised(text: str) -> str:
    return "".join([character for character in text.lower().strip() if character not in _CMRC_MARKS])


@lru_cache(maxsize=1 << 16)
def _cmrc_segments(text: str) -> list[str]:
    """Chinese characters, and the words that NLTK finds between them; marks are left out.

    What lies between is taken for one sentence: the published script first looks for sentences, with data that NLTK
    downloads. That differs only where a full stop of the Latin script ends a sentence inside an answer.
    """
    from nltk.tokenize import NLTKWordTokenizer  # imported late: only this definition needs it, and it is slow to load

    segments: list[str] = []
    words = NLTKWordTokenizer()
    for part in re.split("([\u4e00-\u9fa5])", _cmrc_normalised(text)):
        if part:
            segments += [part] if _HAN.fullmatch(part) else words.tokenize(part)
    return segments
