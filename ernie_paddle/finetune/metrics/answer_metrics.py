"""Exact match and F1 of extracted answers, as defined by the published benchmarks; all in percent.

`squad` and `squad2` are those of SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018), `mlqa_…` those of MLQA (Lewis et
al., 2020) for the language of the context, `cmrc2018` that of CMRC 2018 (Cui et al., 2019), also used for DRCD.
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
"""Scores whose relative difference is smaller may be ordered differently on another processor."""
_CMRC_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")


def answer_scores(predictions: Sequence[str], answers: Sequence[Sequence[str]], scoring: str) -> NDArray[np.float64]:
    """Exact match and F1 of each prediction with the best of its reference answers.

    Args:
        predictions: [Q]; the empty text is "no answer".
        answers: [Q], the reference answers of each question; an empty list means that there is no answer.
        scoring: One of SCORINGS.

    Returns:
        float64 [Q, 2] in [0, 1].
    """
    normalise, segments, overlap = _definition(scoring)
    empty = float(scoring == "squad2")  # the F1 of two texts that are empty after normalization
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
    """The definition for these answers: CMRC 2018's if most contain Chinese characters, else SQuAD 1.1's."""
    chinese = sum(bool(_HAN.search(answer)) for answer in answers)
    return "cmrc2018" if 2 * chinese > len(answers) else "squad"


def answer_metrics(scores: NDArray[np.float64], answerable: NDArray[np.bool_]) -> dict[str, float]:
    """Means of `answer_scores` [Q, 2] in percent; if some questions have no answer, also for each kind."""
    groups = {"": np.ones(len(scores), np.bool_)}
    if not answerable.all():
        groups |= {"answerable_": answerable, "unanswerable_": ~answerable}
    return {
        # Summed in order, as in the published scripts, so that all digits agree.
        f"{prefix}{name}": float(100.0 * np.cumsum(scores[chosen, column])[-1] / chosen.sum())
        for prefix, chosen in groups.items()
        if chosen.any()
        for column, name in enumerate(("exact_match", "f1"))
    }


def best_threshold(gains: NDArray[np.float64], no_answer: NDArray[np.float64]) -> float:
    """The threshold of the no-answer score with the best mean score (SQuAD 2.0's `best_f1_thresh`).

    Args:
        gains: [Q], score of the best answer of each question minus the score of giving none.
        no_answer: [Q], the model's score of no answer minus that of its best answer.

    Returns:
        t, such that no answer is given if `no_answer` > t. It lies midway between the levels of the last answered and
        the first unanswered question, so that rounding (another processor, another executor) changes no decision.
        Questions with neighbouring levels that differ only by rounding are all answered or all not, even if a threshold
        between them had a better score. Of several equally good thresholds, the lowest is returned; one below all
        levels if giving no answer at all is best, and one above all levels if answering every question is best.
    """
    order = np.argsort(no_answer, kind="stable")
    sums, levels = np.cumsum(gains[order]), no_answer[order]
    # Questions whose levels differ only by rounding are on the same side of the threshold.
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
    """The functions of a definition: normalization for exact match, segmentation for F1, and overlap of segments."""
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
    """Chinese characters, and the words that NLTK finds between them, without punctuation.

    Text between Chinese characters is treated as one sentence; the published script first splits sentences, with data
    that NLTK downloads. The results only differ if a Latin full stop ends a sentence inside an answer.
    """
    from nltk.tokenize import NLTKWordTokenizer  # imported here as it is slow to load

    segments: list[str] = []
    words = NLTKWordTokenizer()
    for part in re.split("([\u4e00-\u9fa5])", _cmrc_normalised(text)):
        if part:
            segments += [part] if _HAN.fullmatch(part) else words.tokenize(part)
    return segments
