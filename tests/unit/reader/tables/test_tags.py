"""Tags of entities: what they mean, against conlleval's rules tag by tag; how they are written; there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.tables import tags as T
from reader.tables.cells import UnusableCellError

TYPES = ["PER", "LOC", ""]
Entity = tuple[int, int, str]
KINDS = ("B", "I", "E", "S")
ANY_TAG = st.one_of(st.just("O"), st.tuples(st.sampled_from(KINDS), st.sampled_from(TYPES[:2])).map("-".join))
SENTENCES = st.lists(st.lists(ANY_TAG, min_size=1, max_size=9), min_size=1, max_size=4)


def slow_entities(tags: list[str]) -> list[Entity]:
    """The chunks of one sentence as conlleval finds them: by the previous tag and this one, each rule on its own."""
    found, begin, before, type_before = [], 0, "O", ""
    for place, tag in enumerate([*tags, "O"]):
        kind, _, name = tag.partition("-")
        ends = before in ("E", "S") or (before in ("B", "I") and kind in ("B", "S", "O"))
        ends |= before != "O" and type_before != name
        starts = kind in ("B", "S") or (kind in ("E", "I") and before in ("E", "S", "O"))
        starts |= kind != "O" and type_before != name
        if before != "O" and ends:
            found.append((begin, place - 1, type_before))
        if starts:
            begin = place
        before, type_before = kind, name
    return found


def marked_of(sentences: list[list[str]]) -> T.Marked:
    split = [(number, *T.split_tag(tag)) for number, tags in enumerate(sentences) for tag in tags]
    numbers, kinds, names = zip(*split, strict=True)
    types = [TYPES.index(name) for name in names]
    return T.read_tags(np.array(kinds), np.array(types), np.array(numbers))


def entities_of(marked: T.Marked) -> list[list[Entity]]:
    """The entities of each sentence, token by token."""
    found: list[list[Entity]] = [[] for _ in range(int(marked.sentences.max()) + 1)]
    place = before = -1
    open_entity = False
    for number, kind, begins in zip(marked.sentences, marked.types, marked.begins, strict=True):
        place = place + 1 if number == before else 0
        if kind < 0:
            assert not begins
            open_entity = False
        elif begins:
            found[number].append((place, place, TYPES[kind]))
            open_entity = True
        else:
            assert open_entity
            assert number == before
            begin, _, name = found[number][-1]
            assert name == TYPES[kind]
            found[number][-1] = (begin, place, name)
        before = number
    return found


def written(marked: T.Marked, scheme: str) -> list[list[str]]:
    names = np.array(T.class_names(scheme, TYPES), dtype=object)[T.write_tags(marked, scheme)]
    return [names[marked.sentences == number].tolist() for number in range(int(marked.sentences.max()) + 1)]


@given(sentences=SENTENCES)
def test_tags_mean_what_conlleval_takes_them_for(sentences: list[list[str]]) -> None:
    assert entities_of(marked_of(sentences)) == [slow_entities(tags) for tags in sentences]


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes"])
@given(sentences=SENTENCES)
def test_every_scheme_but_io_says_all_there_and_back(scheme: str, sentences: list[list[str]]) -> None:
    marked = marked_of(sentences)
    assert [slow_entities(tags) for tags in written(marked, scheme)] == entities_of(marked)
    back = T.read_classes(T.write_tags(marked, scheme), scheme, marked.sentences)
    assert entities_of(back) == entities_of(marked)
    # What is written is written the same again.
    assert written(marked_of(written(marked, scheme)), scheme) == written(marked, scheme)


@given(sentences=SENTENCES)
def test_io_joins_entities_of_one_type_that_touch(sentences: list[list[str]]) -> None:
    marked = marked_of(sentences)
    joined = []
    for entities in entities_of(marked):
        whole: list[Entity] = []
        for begin, end, name in entities:
            if whole and whole[-1][1] == begin - 1 and whole[-1][2] == name:
                begin, end, name = whole.pop()[0], end, name
            whole.append((begin, end, name))
        joined.append(whole)
    assert [slow_entities(tags) for tags in written(marked, "io")] == joined


def test_the_schemes_by_example() -> None:
    """Two persons that touch, a place of three words, and a person of the next sentence."""
    marked = marked_of([["B-PER", "B-PER", "I-PER", "O", "I-LOC", "I-LOC", "I-LOC"], ["I-PER"]])
    assert {scheme: " ".join(tag for tags in written(marked, scheme) for tag in tags) for scheme in T.SCHEMES[:-1]} == {
        "io": "I-PER I-PER I-PER O I-LOC I-LOC I-LOC I-PER",
        "iob1": "I-PER B-PER I-PER O I-LOC I-LOC I-LOC I-PER",
        "iob2": "B-PER B-PER I-PER O B-LOC I-LOC I-LOC B-PER",
        "iobes": "S-PER B-PER E-PER O B-LOC I-LOC E-LOC S-PER",
    }


def test_other_letters_and_bare_prefixes() -> None:
    bilou = [["B-PER", "L-PER", "U-LOC"], ["B-LOC", "M-LOC", "L-LOC", "W-PER"]]
    iobes = [["B-PER", "E-PER", "S-LOC"], ["B-LOC", "I-LOC", "E-LOC", "S-PER"]]
    assert written(marked_of(bilou), "iobes") == iobes
    assert written(marked_of([["B", "I", "O"]]), "iobes") == [["B", "E", "O"]]


def test_what_is_no_tag() -> None:
    for tag in ("NN", "", "X-PER", "O-PER", "b-PER", "-PER"):
        with pytest.raises(UnusableCellError, match="not a tag like O, B-X or I-X"):
            T.split_tag(tag)
    assert T.split_tag("B-a-b")[1] == "a-b"


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        *[("O I-X", "iob2"), ("O B-X I-X", "iob2"), ("O S-X", "iobes"), ("O U-X", "iobes"), ("NN VB O", "none")],
        # One mistake among tags of entities is no reason to learn plain labels; letters that are also prefixes are.
        *[("O B-X ORG", "iob2"), ("O I-X -X", "iob2"), ("S-X I-X ORG", "iobes"), ("S E N V", "none")],
    ],
)
def test_the_scheme_for_data(tags: str, scheme: str) -> None:
    assert T.find_scheme(tags.split()) == scheme
