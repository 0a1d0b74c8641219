"""Cutting paragraphs into sentences by rules, for English-like and Chinese-like punctuation."""

from __future__ import annotations

import re

# A Latin-style end needs white space after it; the full-width and Indic marks do not.
_END = re.compile(
    r"""[.!?؟]+["'”’»)\]]*(?=\s)   # English, Arabic question mark
    | [。！？｡।॥።။]+["'”’」』）》】]* | ……["'”’」』）》】]*""",
    re.VERBOSE,
)
_OPENING = "\"'“‘«([—–- \t"
_ABBREVIATIONS = frozenset(
    """mr mrs ms dr prof st mt jr sr rev hon gen col capt lt sgt maj cmdr gov sen rep pres messrs mme mlle m
    vs etc al cf viz ie eg i.e e.g ca approx dept univ inc ltd co corp bros assn ave blvd rd
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun
    vol vols ch chap sec ed eds trans fl op ibid""".split()  # noqa: SIM905
)
_BEFORE_NUMBER = frozenset("no nos p pp fig figs art eq ref".split())  # noqa: SIM905
_INITIALS = re.compile(r"(?:\w\.)*[^\W\d_]", re.UNICODE)
_LONGEST_WORD = 24


def split_sentences(paragraph: str) -> list[str]:
    """Sentences of one paragraph, stripped of white space; joined by spaces they hold the same characters.

    A full stop does not end a sentence after a known abbreviation or an initial ("J. S. Bach", "U.S. Army"), nor before
    a lower-case letter.
    """
    sentences = []
    begin = 0
    for match in _END.finditer(paragraph):
        end = match.end()
        if not _is_end(paragraph, match.start(), end):
            continue
        sentence = paragraph[begin:end].strip()
        if sentence:
            sentences.append(sentence)
        begin = end
    rest = paragraph[begin:].strip()
    if rest:
        sentences.append(rest)
    return sentences


def _is_end(text: str, mark: int, end: int) -> bool:
    if text[mark] not in ".!?؟":
        return True
    following = text[end : end + _LONGEST_WORD].lstrip().lstrip(_OPENING)[:1]
    if following.islower():
        return False
    if text[mark] != "." or text[mark : mark + 2] == "..":
        return True
    before = text[max(0, mark - _LONGEST_WORD) : mark].rsplit(None, 1)
    word = before[-1].lstrip(_OPENING) if before else ""
    if word.lower() in _BEFORE_NUMBER:
        return not following.isdigit()
    if word.lower() in _ABBREVIATIONS:
        return False
    return not (_INITIALS.fullmatch(word) and word != "I")
