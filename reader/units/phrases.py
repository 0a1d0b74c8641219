"""Statistical phrases of a corpus: counted over its words, stored in phrases.tsv and read back for segmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError
from reader.tokenizers.base import Tokenizer
from reader.units.ngrams import MAX_WORDS, NgramCounter, NgramTable, span_keys
from reader.units.words import SentenceWords, word_keys

PHRASES_FILE = "phrases.tsv"
TOP_BIGRAMS = 200_000
TOP_TRIGRAMS = 50_000
"""Sizes of ERNIE-GEN's span vocabulary."""
MIN_COUNT = 5
MIN_T = 2.576
"""N-grams of a lower count or t are never phrases, in a corpus of any size; MIN_T is critical at alpha = .005."""
_HEADER = "n\tcount\tt\tids\twords\n"


class PhraseCounter:
    """Counts n-grams of the words of a corpus, in bounded memory; n-grams never cross punctuation."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._breaking = breaking_words(tokenizer)
        self._numbers: dict[int, int] = {}
        self._pieces: list[list[int]] = []
        self._counter = NgramCounter()

    def add(self, sentences: SentenceWords) -> None:
        """Counts the n-grams of some sentences."""
        keys, first, place = np.unique(sentences.keys, return_index=True, return_inverse=True)
        numbers = np.array([self._number(sentences, *item) for item in zip(keys.tolist(), first.tolist(), strict=True)])
        words = numbers.astype(np.int64)[place] if len(keys) else np.zeros(0, np.int64)
        kept, offsets = split_lines(sentences, self._breaking, words < 0)
        self._counter.add(words[kept], offsets)

    def write(self, file: Path) -> int:
        """Writes the best bigrams and trigrams; returns their number."""
        lines = [_HEADER]
        for order, limit in ((2, TOP_BIGRAMS), (3, TOP_TRIGRAMS)):
            table = self._counter.table(order, min_count=MIN_COUNT)
            lines += self._lines(order, table, int(np.sum(table.t[:limit] >= MIN_T)))
        file.write_text("".join(lines), encoding="utf-8", newline="\n")
        return len(lines) - 1

    def _number(self, sentences: SentenceWords, key: int, place: int) -> int:
        """The number of a word, in the order of first occurrence, or -1 if there are too many distinct words."""
        number = self._numbers.get(key)
        if number is None:
            if len(self._pieces) >= MAX_WORDS:
                return -1
            number = self._numbers[key] = len(self._pieces)
            self._pieces.append(sentences.pieces(place))
        return number

    def _lines(self, order: int, table: NgramTable, n: int) -> list[str]:
        pieces = self._tokenizer.vocab.pieces
        lines = []
        for row, count, t in zip(table.words[:n].tolist(), table.counts.tolist(), table.t.tolist(), strict=False):
            words = [self._pieces[number] for number in row]
            ids = "|".join(" ".join(map(str, word)) for word in words)
            surface = " ".join("".join(pieces[i].removeprefix("##").lstrip("▁") for i in word) for word in words)
            lines.append(f"{order}\t{count}\t{t:.6f}\t{ids}\t{surface}\n")
        return lines


def read_phrases(file: Path) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The keys of the bigrams and of the trigrams, as `greedy_spans` needs them.

    Raises:
        DataError: the file is damaged.
    """
    words: dict[int, list[list[int]]] = {2: [], 3: []}
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1:
                continue
            try:
                order, _, _, ids, _ = line.rstrip("\n").split("\t", 4)
                gram = [[int(i) for i in word.split(" ")] for word in ids.split("|")]
                assert len(gram) == int(order)
                words[len(gram)] += gram
            except (ValueError, KeyError, AssertionError) as error:
                raise DataError(f"{file}:{number}: damaged; prepare the corpus again") from error
    bigrams, trigrams = (span_keys(word_keys(words[order]).reshape(-1, order)) for order in (2, 3))
    return bigrams, trigrams


def breaking_words(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """bool [vocabulary size]: True for [UNK] and for pieces without a letter or digit, which no phrase crosses."""
    breaking = [not any(character.isalnum() for character in piece) for piece in tokenizer.vocab.pieces]
    breaking[tokenizer.vocab.unk] = True
    if "▁" in tokenizer.vocab.ids:
        breaking[tokenizer.vocab.ids["▁"]] = False
    return np.array(breaking, dtype=np.bool_)


def split_lines(
    sentences: SentenceWords, breaking: NDArray[np.bool_], more: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The words that phrases are made of, and the lines that phrases stay within.

    Args:
        sentences: W words.
        breaking: bool [vocabulary size], from `breaking_words`; the first piece of each word is looked up in it.
        more: bool [W], further words that no phrase contains or crosses.

    Returns:
        int64 [V]: the numbers of the words kept; int64 [lines + 1]: line i is kept words offsets[i] to offsets[i+1]-1.
    """
    n_words = len(sentences.starts)
    out = breaking[sentences.ids[sentences.starts]]
    if more is not None:
        out = out | more
    kept = np.flatnonzero(~out)
    # Cut where a sentence ends, and where a breaking word was removed.
    ends = np.zeros(n_words + 1, np.int64)
    ends[sentences.sentence_words] = 1
    gap = np.cumsum(ends[:-1] + np.concatenate([[0], out[:-1]]))[kept] if n_words else np.zeros(0, np.int64)
    cuts = np.flatnonzero(np.diff(gap)) + 1
    return kept, np.concatenate([[0], cuts, [len(kept)]]).astype(np.int64)
