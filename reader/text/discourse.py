"""Discourse relations mined from raw text: the Discovery rule (Sileo et al., 2019), as ERNIE 2.0 uses it.

ERNIE 2.0 calls the task "Discourse Relation Task". Where a sentence begins with a discourse marker and a comma, the
marker says how the sentence relates to the one before it. The marker is removed, and is the label of the two sentences.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from reader.errors import DataError
from reader.random import key
from reader.report import SkipReport
from reader.text.documents import Document

MARKERS = tuple(
    marker.strip()
    for marker in """
    accordingly, actually, additionally, admittedly, after all, afterwards, again, all in all, also, alternatively,
    and, anyway, apparently, as a consequence, as a result, at first, at the same time, basically, because of this,
    besides, but, by comparison, by contrast, by then, certainly, clearly, consequently, conversely, currently,
    especially, eventually, evidently, finally, first, for example, for instance, for this reason, fortunately,
    furthermore, generally, hence, historically, hopefully, however, in addition, in brief, in comparison,
    in conclusion, in contrast, in fact, in general, in other words, in particular, in practice, in short,
    in the end, in the meantime, in turn, incidentally, indeed, initially, instead, interestingly, ironically,
    lastly, later, likewise, luckily, maybe, meanwhile, moreover, more precisely, namely, naturally, nevertheless,
    next, nonetheless, normally, now, obviously, of course, often, on the contrary, on the one hand,
    on the other hand, on the whole, or, originally, otherwise, overall, perhaps, plainly, presumably, previously,
    rather, recently, second, similarly, so, sometimes, soon, specifically, still, subsequently, surprisingly,
    that is, then, thereafter, therefore, third, though, thus, to be sure, to begin with, to sum up, traditionally,
    typically, ultimately, unfortunately, usually, well, yet
    """.split(",")  # noqa: SIM905
)
"""English discourse markers that often open a sentence, followed by a comma."""

COLUMNS = ("sentence1", "sentence2", "label", "document")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+")


@dataclass(frozen=True)
class MiningRule:
    """The rule for labelled pairs.

    Attributes:
        markers: the markers in lower case, their words separated by a space.
        min_words, max_words: least and most words of each sentence, of the second without its marker; a Chinese
            character is a word.
    """

    markers: Sequence[str] = MARKERS
    min_words: int = 3
    max_words: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.min_words <= self.max_words:
            raise DataError(
                f"sentences of {self.min_words} to {self.max_words} words are impossible: the minimum must be at "
                "least 1 and at most the maximum"
            )

    def fits(self, sentence: str) -> bool:
        """Whether a sentence has neither too few words nor too many."""
        return self.min_words <= len(_WORD.findall(sentence)) <= self.max_words


@dataclass(frozen=True)
class MarkedPair:
    """Two adjacent sentences, the marker that was removed from the second, and `file:line` of their document."""

    first: str
    second: str
    marker: str
    document: str


def read_markers(path: str | Path) -> list[str]:
    """The markers in a file, one per line; a comma at the end is dropped, and an underscore is read as a space.

    Raises:
        DataError: the file cannot be read, or holds no markers.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; one marker per line is expected") from None
    found = (" ".join(line.replace("_", " ").rstrip(" ,").split()).lower() for line in lines)
    markers = list(dict.fromkeys(marker for marker in found if marker))
    if not markers:
        raise DataError(f"{path}: no markers; one per line is expected")
    return markers


def mine(documents: Iterable[Document], rule: MiningRule, report: SkipReport) -> Iterator[MarkedPair]:
    """The pairs of all documents, in the order of the text.

    Opening quotes and brackets before the marker are removed with it, and the rest is capitalised: a lower-case letter
    would show that words are missing. Memory grows by about 100 bytes for each pair, since the hashes of all pairs are
    kept to find repeated pairs.

    Args:
        documents: documents of `reader.text.documents.read_documents`; the first sentence of a paragraph makes no pair
            with the sentence before it, which may be another speaker's.
        rule: the rule for pairs.
        report: counts marked sentences that are skipped.
    """
    longest_first = sorted(rule.markers, key=len, reverse=True)
    words = (r"\s+".join(map(re.escape, marker.split())) for marker in longest_first)
    pattern = re.compile(rf"[\"'“‘«(\[「『]*({'|'.join(words)})\s*(?:,\s+|，\s*)", re.IGNORECASE)
    seen: set[bytes] = set()
    for document in documents:
        breaks = set(document.paragraph_starts)
        for number, (first, second) in enumerate(zip(document.sentences, document.sentences[1:], strict=False), 1):
            match = pattern.match(second)
            if match is None or number in breaks:
                continue
            first, rest = " ".join(first.split()), " ".join(second[match.end() :].split())
            if not (rule.fits(first) and rule.fits(rest)):
                report.add(
                    f"marked pair with a sentence outside {rule.min_words} to {rule.max_words} words", document.source
                )
                continue
            rest = rest[0].upper() + rest[1:]
            digest = blake2b(f"{first}\t{rest}".encode(), digest_size=16).digest()
            if digest in seen:
                report.add("marked pair that was there before", document.source)
                continue
            seen.add(digest)
            yield MarkedPair(first, rest, " ".join(match[1].lower().split()), document.source)


def balance(pairs: Iterable[MarkedPair], most: int, seed: int, report: SkipReport) -> list[MarkedPair]:
    """At most `most` pairs of each marker, chosen at random, in the order of `pairs`.

    The choice depends on the seed and the pairs, not on their order. Only the chosen pairs are held in memory. `report`
    counts the other pairs.
    """
    chosen: dict[str, list[tuple[int, int, MarkedPair]]] = {}  # per marker a heap, the highest draw on top
    for number, pair in enumerate(pairs):
        heap = chosen.setdefault(pair.marker, [])
        entry = (-int(key(seed, "balance", pair.first, pair.second)), number, pair)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        else:
            left_out = heapq.heappushpop(heap, entry)[2]
            report.add(f"pair beyond the {most:,} of its marker", left_out.document)
    entries = [entry for heap in chosen.values() for entry in heap]
    return [pair for _, _, pair in sorted(entries, key=lambda entry: entry[1])]
