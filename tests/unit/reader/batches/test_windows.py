"""Windows over long texts, against the loops of BERT's release (run_squad.py) written out step by step."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reader.batches.rows import Encoded, ranges
from reader.batches.windows import cut_windows, widest_context


def slow_windows(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """(start, length) of the windows of one text."""
    found, start = [], 0
    while True:
        size = min(length - start, room)
        found.append((start, size))
        if start + size == length:
            return found
        start += min(size, stride)


def slow_best(spans: list[tuple[int, int]], place: int) -> int:
    """The window with the most context around a piece."""
    best, best_score = -1, -1.0
    for number, (start, size) in enumerate(spans):
        if not start <= place < start + size:
            continue
        score = min(place - start, start + size - 1 - place) + 0.01 * size
        if score > best_score:
            best, best_score = number, score
    return best


TEXTS = st.lists(st.tuples(st.integers(0, 70), st.integers(1, 25)), min_size=1, max_size=5)


@given(texts=TEXTS, stride=st.integers(1, 30))
def test_windows_are_those_of_a_loop(texts: list[tuple[int, int]], stride: int) -> None:
    lengths, rooms = (np.array(column, np.int64) for column in zip(*texts, strict=True))
    windows = cut_windows(lengths, rooms, stride)
    spans = [slow_windows(length, room, stride) for length, room in texts]
    assert windows.texts.tolist() == [text for text, parts in enumerate(spans) for _ in parts]
    assert list(zip(windows.starts, windows.lengths, strict=True)) == [part for parts in spans for part in parts]


@given(texts=TEXTS, stride=st.integers(1, 30))
def test_each_piece_is_trusted_in_the_window_with_most_context(texts: list[tuple[int, int]], stride: int) -> None:
    lengths, rooms = (np.array(column, np.int64) for column in zip(*texts, strict=True))
    windows = cut_windows(lengths, rooms, stride)
    wanted = []
    for length, room in texts:
        spans = slow_windows(length, room, stride)
        wanted += [
            slow_best(spans, place) == number
            for number, (start, size) in enumerate(spans)
            for place in range(start, start + size)
        ]
    assert widest_context(windows).tolist() == wanted


def test_no_texts() -> None:
    empty = np.zeros(0, np.int64)
    windows = cut_windows(empty, empty, 3)
    assert len(windows) == 0
    assert widest_context(windows).tolist() == []


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6), data=st.data())
def test_rows_are_taken_in_any_order(lengths: list[int], data: st.DataObject) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    encoded = Encoded(np.arange(offsets[-1], dtype=np.int32), np.arange(offsets[-1], dtype=np.uint8) % 2, offsets)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8))
    taken = encoded.take(np.array(rows, np.int64))
    assert len(taken) == len(rows)
    for place, row in enumerate(rows):
        mine, theirs = (slice(*each) for each in (taken.offsets[place : place + 2], offsets[row : row + 2]))
        assert taken.ids[mine].tolist() == encoded.ids[theirs].tolist()
        assert taken.segments[mine].tolist() == encoded.segments[theirs].tolist()
    assert len(taken.ids) == len(ranges(taken.offsets[:-1], np.diff(taken.offsets)))
