"""Marked words: places by characters and by the number of a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.tables.cells import UnusableCellError
from reader.tables.marks import CHARACTERS, WORDS, Mark, find_mark

TEXT = 'The "Old  Men" met Tom, who knew them.'


def marked(first: object, second: object, unit: str = WORDS) -> tuple[str, bool]:
    mark = find_mark(TEXT, first, second, unit)
    return TEXT[mark.begin : mark.end], mark.agrees


def test_words_are_found_without_what_stands_beside_them() -> None:
    assert marked(4, "Tom") == ("Tom", True)
    assert marked(4, "tom") == ("Tom", True)
    assert marked(4, " Tom ") == ("Tom", True)
    assert marked("1", "Old") == ("Old", True)
    assert marked(6, "knew them") == ("knew them", True)
    assert marked(7, "them") == ("them", True)
    assert marked(1, "Old Men") == ("Old  Men", True)


def test_the_nearest_place_is_taken_where_the_words_are_elsewhere() -> None:
    assert marked(3, "Tom") == ("Tom", False)
    assert marked(0, "old") == ("Old", False)
    text = "he saw that she knew he hid"
    places = [find_mark(text, index, "he", WORDS).begin for index in range(7)]
    assert places == [0, 0, 0, 21, 21, 21, 21], "neither the he of she nor that of the"


def test_the_number_is_believed_where_the_words_are_nowhere() -> None:
    assert marked(6, "he saw") == ("knew them.", False)
    assert marked(7, "them and others") == ("them.", False)


@given(words=st.lists(st.sampled_from(["a", "bb", "a,", '"c', "a.b"]), min_size=1), data=st.data())
def test_a_run_of_words_is_where_a_split_has_it(words: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    run = " ".join(words[first : last + 1])
    begin = len(" ".join([*words[:first], ""])) if first else 0
    assert find_mark(" ".join(words), first, run, WORDS) == Mark(begin, begin + len(run))


def test_characters() -> None:
    assert marked(5, "8", CHARACTERS) == ("Old", True)
    assert marked(0, len(TEXT), CHARACTERS) == (TEXT, True)


@pytest.mark.parametrize(
    ("first", "second", "unit", "message"),
    [
        (8, 5, CHARACTERS, "characters 8 to 5 are not words of a text of 38 characters"),
        (5, 39, CHARACTERS, "characters 5 to 39 are not words"),
        (-1, 3, CHARACTERS, "characters -1 to 3 are not words"),
        (8, 10, CHARACTERS, "characters 8 to 10 are not words"),
        (None, 3, CHARACTERS, "a place is missing"),
        (3, "", CHARACTERS, "a place is missing"),
        (3, "x", CHARACTERS, "'x' is not a whole number"),
        (True, 3, CHARACTERS, "True is not a whole number"),
        (8, "them", WORDS, "there is no word 8 in a text of 8 words"),
        (-1, "them", WORDS, "there is no word -1"),
        (1, "", WORDS, "the words are missing"),
        (1, None, WORDS, "the words are missing"),
    ],
)
def test_what_is_no_place_says_why(first: object, second: object, unit: str, message: str) -> None:
    with pytest.raises(UnusableCellError, match=message):
        find_mark(TEXT, first, second, unit)
