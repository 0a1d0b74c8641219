"""SQuAD's questions as rows of pieces in plain Python, following BERT's original script step by step.

The words of a context are split at white space, each becomes pieces one at a time, for every question again; windows
are made one after the other, and the trusted window of a piece is found by looking at all windows. It is the reference
for the speed and the output of the project's featurizer.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from reader.tables.questions import Question
from reader.tokenizers.vocab import Vocab

_CONTROL = ("Cc", "Cf")
_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


@dataclass(frozen=True)
class PlainRow:
    """A window: padded arrays, the place of the answer, and for each context piece its word and whether to trust it."""

    input_ids: list[int]
    segment_ids: list[int]
    attention_mask: list[int]
    start: int
    end: int
    words: dict[int, int]
    trusted: dict[int, bool]


class PlainTokenizer:
    """BERT's two steps: split into words and punctuation, then into the longest pieces from the left."""

    def __init__(self, vocab: Vocab, lowercase: bool) -> None:
        self._ids = vocab.ids
        self._lowercase = lowercase

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text."""
        found = []
        for word in self._words(text):
            found.extend(self._cut(word))
        return found

    def ids(self, pieces: list[str]) -> list[int]:
        """The ids of the pieces."""
        return [self._ids[piece] for piece in pieces]

    def _words(self, text: str) -> list[str]:
        cleaned = []
        for character in text:
            code = ord(character)
            if code in (0, 0xFFFD) or (unicodedata.category(character) in _CONTROL and character not in "\t\n\r"):
                continue
            if _is_space(character):
                cleaned.append(" ")
            elif any(low <= code <= high for low, high in _CJK):
                cleaned.append(f" {character} ")
            else:
                cleaned.append(character)
        words = []
        for word in "".join(cleaned).split():
            if self._lowercase:
                word = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")
            part = ""
            for character in word:
                if _is_mark(character):
                    words += [part, character] if part else [character]
                    part = ""
                else:
                    part += character
            if part:
                words.append(part)
        return words

    def _cut(self, word: str) -> list[str]:
        if len(word) > 100:
            return ["[UNK]"]
        found = []
        start = 0
        while start < len(word):
            end = len(word)
            while start < end:
                piece = ("##" if start else "") + word[start:end]
                if piece in self._ids:
                    break
                end -= 1
            if start == end:
                return ["[UNK]"]
            found.append(piece)
            start = end
        return found


def plain_rows(
    question: Question, tokenizer: PlainTokenizer, *, max_length: int, max_query_length: int, stride: int
) -> list[PlainRow]:
    """The rows of one question; a wrong offset of the answer, which the script skips, gives rows without an answer."""
    words: list[str] = []
    word_of_character = []
    after_space = True
    for character in question.context:
        if _is_space(character):
            after_space = True
        else:
            if after_space:
                words.append(character)
            else:
                words[-1] += character
            after_space = False
        word_of_character.append(len(words) - 1)

    pieces: list[str] = []
    word_of_piece = []
    first_piece_of_word = []
    for number, word in enumerate(words):
        first_piece_of_word.append(len(pieces))
        for piece in tokenizer.pieces(word):
            word_of_piece.append(number)
            pieces.append(piece)

    start = end = -1
    answer = question.usable_answer()
    if answer is not None:
        first, last = (word_of_character[at] for at in (answer.start, answer.start + len(answer.text) - 1))
        start = first_piece_of_word[first]
        end = (first_piece_of_word[last + 1] if last + 1 < len(words) else len(pieces)) - 1
        start, end = _closest(pieces, start, end, " ".join(tokenizer.pieces(answer.text)))

    query = tokenizer.pieces(question.text)[:max_query_length]
    room = max_length - len(query) - 3
    windows = []
    begin = 0
    while True:
        length = min(len(pieces) - begin, room)
        windows.append((begin, length))
        if begin + length == len(pieces):
            break
        begin += min(length, stride)

    rows = []
    for number, (begin, length) in enumerate(windows):
        tokens = ["[CLS]", *query, "[SEP]"]
        segments = [0] * len(tokens)
        places, trusted = {}, {}
        for place in range(begin, begin + length):
            places[len(tokens)] = word_of_piece[place]
            trusted[len(tokens)] = _most_context(windows, number, place)
            tokens.append(pieces[place])
            segments.append(1)
        tokens.append("[SEP]")
        segments.append(1)
        ids, mask = tokenizer.ids(tokens), [1] * len(tokens)
        while len(ids) < max_length:
            ids.append(0)
            mask.append(0)
            segments.append(0)
        shift = len(query) + 2 - begin
        inside = start >= begin and end < begin + length and start >= 0
        rows.append(
            PlainRow(ids, segments, mask, start + shift if inside else 0, end + shift if inside else 0, places, trusted)
        )
    return rows


def _closest(pieces: list[str], start: int, end: int, wanted: str) -> tuple[int, int]:
    """The part of a span that equals the answer, if there is one: "(1895-1943)" -> "1895"."""
    for begin in range(start, end + 1):
        for last in range(end, begin - 1, -1):
            if " ".join(pieces[begin : last + 1]) == wanted:
                return begin, last
    return start, end


def _most_context(windows: list[tuple[int, int]], number: int, place: int) -> bool:
    """Whether this window has the largest minimum of context on both sides of the piece."""
    best_score, best = None, None
    for other, (begin, length) in enumerate(windows):
        last = begin + length - 1
        if place < begin or place > last:
            continue
        score = min(place - begin, last - place) + 0.01 * length
        if best_score is None or score > best_score:
            best_score, best = score, other
    return number == best


def _is_space(character: str) -> bool:
    return character in " \t\n\r" or unicodedata.category(character) == "Zs" or ord(character) == 0x202F


def _is_mark(character: str) -> bool:
    code = ord(character)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(character).startswith("P")
