"""Tags of entities in all usual schemes, read as conlleval does (Tjong Kim Sang, 2000), and written in a given scheme.

IO: I-X in entities of type X, O outside. IOB1: the first token of an entity that follows another of its type is B-X.
IOB2: the first token of every entity is B-X. IOBES: further, the last token is E-X, and a single one S-X.

Reading needs no scheme: an entity begins at B and S, after E and S, and where the type changes or O ends. So an entity
extends as far as its type, and every sequence of tags has a meaning. The letters of BILOU and BMEWO are read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reader.tables.cells import UnusableCellError

PLAIN = "none"
"""The "scheme" of labels that do not mark entities, such as parts of speech."""
_PREFIXES = {"io": "I", "iob1": "BI", "iob2": "BI", "iobes": "BIES", PLAIN: ""}
SCHEMES = tuple(_PREFIXES)
ALIGNMENTS = ("first", "all")
OUTSIDE = "O"
_KINDS = {"O": 0, "I": 1, "B": 2, "E": 3, "S": 4, "M": 1, "L": 3, "U": 4, "W": 4}
_O, _I, _B, _E, _S = range(5)


@dataclass(frozen=True)
class Marked:
    """The entities of all sentences, which are concatenated; no entity extends into the next sentence.

    types int64 [N]: number of the type of each token's entity, -1 outside; begins bool [N]: whether an entity begins at
    the token; sentences int64 [N]: the sentence of each token.
    """

    types: NDArray[np.int64]
    begins: NDArray[np.bool_]
    sentences: NDArray[np.int64]


def split_tag(tag: str) -> tuple[int, str]:
    """The kind of a tag (as a number) and its type; the type of O, and of a prefix alone, is empty.

    Raises:
        UnusableCellError: the text is not a tag of entities.
    """
    prefix, _, name = tag.partition("-")
    if prefix not in _KINDS or (prefix == OUTSIDE and tag != OUTSIDE):
        raise UnusableCellError(
            f"{tag!r} is not a tag like O, B-X or I-X (labels that mark no entities need --scheme {PLAIN})"
        )
    return _KINDS[prefix], name


def read_tags(kinds: NDArray[np.int64], types: NDArray[np.int64], sentences: NDArray[np.int64]) -> Marked:
    """The entities that tags mark.

    Args:
        kinds: [N], as `split_tag` gives them.
        types: [N], numbers of the tags' types (any number where the kind is O).
        sentences: [N], the sentence of each token.
    """
    inside = kinds != _O
    begins = inside.copy()
    before, same = kinds[:-1], types[1:] == types[:-1]
    goes_on = (before != _O) & (before != _E) & (before != _S) & same & (sentences[1:] == sentences[:-1])
    begins[1:] &= ~(goes_on & (kinds[1:] != _B) & (kinds[1:] != _S))
    return Marked(np.where(inside, types, -1), begins, sentences)


def class_names(scheme: str, types: Sequence[str]) -> list[str]:
    """The tags of a scheme: O, then those of each type."""
    if scheme == PLAIN:
        return list(types)
    return [OUTSIDE, *(f"{prefix}-{name}" if name else prefix for name in types for prefix in _PREFIXES[scheme])]


def write_tags(marked: Marked, scheme: str) -> NDArray[np.int64]:
    """The number of each token's tag in `class_names`: int64 [N]."""
    types, begins = marked.types, marked.begins
    if scheme == PLAIN:
        return types
    inside = types >= 0
    goes_on = np.zeros(len(types), np.bool_)
    goes_on[:-1] = inside[:-1] & inside[1:] & ~begins[1:]
    kinds = np.where(begins, _B, _I)
    if scheme == "io":
        kinds[:] = _I
    elif scheme == "iob1":
        touches = np.zeros(len(types), np.bool_)
        touches[1:] = (types[1:] == types[:-1]) & (marked.sentences[1:] == marked.sentences[:-1])
        kinds[begins & ~touches] = _I
    elif scheme == "iobes":
        kinds = np.where(goes_on, kinds, np.where(begins, _S, _E))
    prefixes = _PREFIXES[scheme]
    place = np.zeros(5, np.int64)
    place[[_KINDS[prefix] for prefix in prefixes]] = np.arange(len(prefixes))
    return np.where(inside, 1 + types * len(prefixes) + place[kinds], 0)


def read_classes(numbers: NDArray[np.int64], scheme: str, sentences: NDArray[np.int64]) -> Marked:
    """The entities of tags that are given as numbers [N] in `class_names`; `sentences` as in `read_tags`."""
    if scheme == PLAIN:
        return Marked(numbers, np.ones(len(numbers), np.bool_), sentences)
    prefixes = _PREFIXES[scheme]
    types, place = np.divmod(numbers - 1, len(prefixes))
    kinds = np.where(numbers == 0, _O, np.array([_KINDS[prefix] for prefix in prefixes])[place])
    return read_tags(kinds, types, sentences)


def find_scheme(tags: Iterable[str]) -> str:
    """The scheme in which a model should learn data with these tags.

    The scheme is "none" if some tags are not tags of entities and no tag is B-X or I-X. Next to B-X or I-X such tags
    are mistakes, which the reader refuses, and the scheme is one of entities. It is IOBES if there is E or S (or a
    letter with the same meaning), else IOB2, which expresses all that IO and IOB1 express.
    """
    kinds, strange, entities = set(), False, False
    for tag in tags:
        try:
            kind, name = split_tag(tag)
        except UnusableCellError:
            strange = True
            continue
        kinds.add(kind)
        entities = entities or (kind in (_B, _I) and name != "")
    if strange and not entities:
        return PLAIN
    return "iobes" if kinds & {_E, _S} else "iob2"
