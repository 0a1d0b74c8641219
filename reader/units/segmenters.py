"""Segmenters find phrases and entities, the units of knowledge masking (ERNIE 1.0/2.0), as runs of whole words.

Whole words need no segmenter. The segmenters that a configuration can name:

    phrases          statistical n-grams of the corpus itself, by t-test (ERNIE-GEN); counted before the main pass
    capitals         entities of English text: runs of capitalised words
    gazetteer:FILE   entries of a list, one per line, optionally followed by a tab and `entity` (default) or `phrase`
    jieba            words of Chinese text as phrases of characters (needs the optional package jieba)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reader import flags as F
from reader.errors import DataError
from reader.tokenizers.base import Tokenizer
from reader.tokenizers.wordpiece import CJK_RUN, WordPieceTokenizer
from reader.units.ngrams import greedy_spans
from reader.units.phrases import breaking_words, read_phrases, split_lines
from reader.units.words import SentenceWords, member

NAMES = ("phrases", "capitals", "gazetteer:FILE", "jieba")
_LONGEST_ENTITY = 8
# Words that are capitalised at the beginning of a sentence without being part of a name.
_FUNCTION_WORDS = """
a an the this that these those he she it they we you i his her its their our my your in on at by for
from to of with as and but or nor so yet if when while after before since because although though there here what who
whom whose which why how where not no is was are were be been do does did have has had will would can could may might
must shall should then thus however also some many most all each every both one two three more such only even now
mr mrs ms dr""".split()  # noqa: SIM905
_JOINING_WORDS = ("of", "de", "von", "van", "del", "la", "di", "da")


@dataclass(frozen=True)
class Spans:
    """Sorted, disjoint runs of words within sentences; starts and lengths int64 [K]; level is phrase or entity."""

    level: str
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


class Segmenter(Protocol):
    """Finds units in sentences."""

    def find(self, sentences: SentenceWords) -> list[Spans]:
        """Phrases of two words or more, or entities of one word or more."""


def make_segmenters(specs: Sequence[str], tokenizer: Tokenizer, phrases_file: Path | None) -> list[Segmenter]:
    """Segmenters by name, in order of precedence: of overlapping units of one level, the earlier segmenter's are kept.

    Raises:
        DataError: a name is not known, the file of a segmenter is unusable, or the tokenizer does not suit a segmenter.
    """
    made: list[Segmenter] = []
    for spec in specs:
        name, _, argument = spec.partition(":")
        if name == "phrases" and not argument:
            assert phrases_file is not None, "phrases are counted before they are looked for"
            made.append(PhraseSegmenter(tokenizer, phrases_file))
        elif name == "capitals" and not argument:
            made.append(CapitalSegmenter(tokenizer))
        elif name == "gazetteer" and argument:
            made.append(GazetteerSegmenter(tokenizer, Path(argument)))
        elif name == "jieba" and not argument:
            made.append(JiebaSegmenter(tokenizer))
        elif name != "word":
            raise DataError(f"segmenter {spec!r} is not known; use some of {', '.join(NAMES)}")
    return made


def describe_segmenters(specs: Sequence[str]) -> list[str]:
    """The names of segmenters with the hashes of their files, which together determine the units.

    Raises:
        DataError: a file cannot be read.
    """
    described = []
    for spec in specs:
        name, _, argument = spec.partition(":")
        if argument:
            digest = hashlib.sha256(_read_gazetteer(Path(argument)).encode("utf-8")).hexdigest()
            described.append(f"{name}:{argument}#{digest[:16]}")
        else:
            described.append(spec)
    return described


def mark(sentences: SentenceWords, found: Sequence[Spans]) -> NDArray[np.uint8]:
    """The sentences' flags with the bits of phrases and entities; earlier spans win over overlapping later ones."""
    flags: NDArray[np.uint8] = sentences.flags.copy()
    bits = {"phrase": (F.IN_PHRASE, F.PHRASE_CONT), "entity": (F.IN_ENTITY, F.ENTITY_CONT)}
    n_words = len(sentences.starts)
    for level, (inside_bit, continue_bit) in bits.items():
        inside = np.zeros(n_words, np.bool_)
        continued = np.zeros(n_words, np.bool_)
        for spans in found:
            if spans.level != level:
                continue
            taken = np.concatenate([[0], np.cumsum(inside)])
            free = taken[spans.starts] == taken[spans.starts + spans.lengths]
            starts, lengths = spans.starts[free], spans.lengths[free]
            words = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
            inside[words] = True
            continued[words] = True
            continued[starts] = False
        flags[np.repeat(inside, sentences.lengths)] |= inside_bit
        flags[np.repeat(continued, sentences.lengths)] |= continue_bit
    return flags


class PhraseSegmenter:
    """Statistical n-grams from phrases.tsv, cut greedily: trigram, else bigram, else word."""

    def __init__(self, tokenizer: Tokenizer, file: Path) -> None:
        self._breaking = breaking_words(tokenizer)
        self._bigrams, self._trigrams = read_phrases(file)

    def find(self, sentences: SentenceWords) -> list[Spans]:
        """Phrases of two or three words, without punctuation."""
        kept, offsets = split_lines(sentences, self._breaking)
        starts, lengths = greedy_spans(sentences.keys[kept], offsets, self._bigrams, self._trigrams)
        return [Spans("phrase", kept[starts], lengths)]


class CapitalSegmenter:
    """Runs of capitalised words, which in English are mostly names.

    A single capitalised word at the beginning of a sentence is not an entity. Function words (the, in, he…) are not
    part of one, but a lower-case `of` or the like may stand between two words. Runs of more than 8 words are headings.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._function = _keys_of([w for word in _FUNCTION_WORDS for w in (word, word.capitalize())], tokenizer)
        self._joining = _keys_of(_JOINING_WORDS, tokenizer)

    def find(self, sentences: SentenceWords) -> list[Spans]:
        """Entities of 1 to 8 words."""
        n_words = len(sentences.starts)
        if not n_words:
            return []
        first = np.zeros(n_words, np.bool_)
        bounds = sentences.sentence_words
        first[bounds[:-1][np.diff(bounds) > 0]] = True
        name = sentences.capital & ~member(sentences.keys, self._function)
        before = np.concatenate([[False], name[:-1]]) & ~first
        after = np.concatenate([name[1:], [False]]) & ~np.concatenate([first[1:], [True]])
        joined = member(sentences.keys, self._joining) & ~sentences.capital & before & after
        run = name | joined
        begins = run & (~np.concatenate([[False], run[:-1]]) | first)
        ends = run & (~np.concatenate([run[1:], [False]]) | np.concatenate([first[1:], [True]]))
        starts = np.flatnonzero(begins)
        lengths = np.flatnonzero(ends) - starts + 1
        good = (lengths <= _LONGEST_ENTITY) & ((lengths > 1) | ~first[starts])
        return [Spans("entity", starts[good], lengths[good])]


class GazetteerSegmenter:
    """Entries of a list, longest match first. Words that are capitalised in an entry must be so in the text, too."""

    def __init__(self, tokenizer: Tokenizer, file: Path) -> None:
        entries: dict[str, str] = {}
        for number, line in enumerate(_read_gazetteer(file).split("\n"), start=1):
            surface, _, level = (part.strip() for part in line.partition("\t"))
            if not surface:
                continue
            if level not in ("", "entity", "phrase"):
                raise DataError(f"{file}:{number}: {level!r} must be entity or phrase")
            entries.setdefault(surface, level or "entity")
        if not entries:
            raise DataError(f"{file}: the gazetteer has no entries")
        words = SentenceWords.of(tokenizer.encode_batch(list(entries)), list(entries))
        self._entries: dict[str, dict[int, list[tuple[list[int], list[bool]]]]] = {"entity": {}, "phrase": {}}
        bounds = words.sentence_words.tolist()
        keys, capitals = words.keys.tolist(), words.capital.tolist()
        for row, level in enumerate(entries.values()):
            entry = (keys[bounds[row] : bounds[row + 1]], capitals[bounds[row] : bounds[row + 1]])
            if entry[0]:
                self._entries[level].setdefault(entry[0][0], []).append(entry)
        for level_entries in self._entries.values():
            for same_first in level_entries.values():
                same_first.sort(key=lambda entry: -len(entry[0]))
        self._first = {
            level: np.array(sorted(level_entries), dtype=np.uint64) for level, level_entries in self._entries.items()
        }

    def find(self, sentences: SentenceWords) -> list[Spans]:
        """Occurrences of the entries, from left to right."""
        keys, capital, bounds = sentences.keys, sentences.capital, sentences.sentence_words
        found = []
        for level, entries in self._entries.items():
            candidates = np.flatnonzero(member(keys, self._first[level]))
            ends = bounds[np.searchsorted(bounds, candidates, side="right")]
            starts, lengths = [], []
            free = 0
            for begin, end in zip(candidates.tolist(), ends.tolist(), strict=True):
                if begin < free:
                    continue
                for wanted, capitals in entries[int(keys[begin])]:
                    size = len(wanted)
                    if begin + size > end or keys[begin : begin + size].tolist() != wanted:
                        continue
                    if any(c and not here for c, here in zip(capitals, capital[begin : begin + size], strict=True)):
                        continue
                    if size > 1 or level == "entity":
                        starts.append(begin)
                        lengths.append(size)
                    free = begin + size
                    break
            found.append(Spans(level, np.array(starts, dtype=np.int64), np.array(lengths, dtype=np.int64)))
        return found


class JiebaSegmenter:
    """Chinese words found by jieba: the characters of a word are one phrase."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not (isinstance(tokenizer, WordPieceTokenizer) and tokenizer.tokenize_chinese_chars):
            raise DataError(
                "segmenter 'jieba' needs a WordPiece tokenizer that makes every Chinese character a token "
                "(tokenize_chinese_chars)"
            )
        self._jieba = _import_jieba()

    def find(self, sentences: SentenceWords) -> list[Spans]:
        """Words of two or more characters."""
        characters = np.flatnonzero((sentences.flags[sentences.starts] & F.CJK) != 0)
        lengths = [
            len(word) for text in sentences.texts for run in CJK_RUN.findall(text) for word in self._jieba.cut(run)
        ]
        sizes = np.array(lengths, dtype=np.int64)
        # Every Chinese character of the text is a word of its own, in the same order.
        assert sizes.sum() == len(characters), "characters of the text and of the tokens do not go together"
        begins = np.cumsum(sizes) - sizes
        several = sizes > 1
        return [Spans("phrase", characters[begins[several]], sizes[several])]


def _import_jieba() -> Any:
    try:
        import jieba
    except ImportError:
        raise DataError("segmenter 'jieba' needs the package jieba: pip install 'ernie-paddle[chinese]'") from None
    jieba.setLogLevel("WARNING")
    return jieba


def _keys_of(words: Sequence[str], tokenizer: Tokenizer) -> NDArray[np.uint64]:
    """Sorted keys of those of the words that the tokenizer takes as a single word."""
    sentences = SentenceWords.of(tokenizer.encode_batch(list(words)), list(words))
    single = np.diff(sentences.sentence_words) == 1
    return np.unique(sentences.keys[sentences.sentence_words[:-1][single]])


def _read_gazetteer(file: Path) -> str:
    try:
        return re.sub("\r\n?", "\n", file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file}: cannot read the gazetteer: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: the gazetteer is not UTF-8 (byte {error.start})") from error
