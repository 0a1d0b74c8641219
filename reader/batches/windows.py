"""Windows over texts that are longer than the model's input, and the choice of the window with the widest context.

Shape suffixes: R texts, W windows, P tokens of all windows, concatenated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reader.batches.rows import ranges


@dataclass(frozen=True)
class Windows:
    """Window w holds the tokens starts[w] to starts[w] + lengths[w] - 1 of text texts[w]; the arrays are int64 [W].

    The windows of a text follow each other; every text has at least one, and an empty text has an empty one.
    """

    texts: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.texts)

    @property
    def ends(self) -> NDArray[np.int64]:
        """The position after the last token of each window: int64 [W]."""
        return self.starts + self.lengths


def cut_windows(lengths_R: NDArray[np.int64], room_R: NDArray[np.int64], stride: int) -> Windows:
    """Windows of at most `room_R` tokens (one or more) that begin every `stride` tokens, or every `room_R` if less."""
    step_R = np.minimum(stride, room_R)
    counts_R = 1 + -(-np.maximum(lengths_R - room_R, 0) // step_R)
    texts_W = np.repeat(np.arange(len(lengths_R)), counts_R)
    starts_W = ranges(np.zeros_like(counts_R), counts_R) * step_R[texts_W]
    return Windows(texts_W, starts_W, np.minimum(room_R[texts_W], lengths_R[texts_W] - starts_W))


def widest_context(windows: Windows) -> NDArray[np.bool_]:
    """For each token of each window, whether this window is used for it: bool [P], true once per token of a text.

    A window scores the number of tokens on the poorer side of the token, left or right, plus a hundredth of its length
    (as in BERT's release, run_squad.py). The window with the highest score is used; of several, the first.
    """
    places_P = ranges(windows.starts, windows.lengths)
    best_P = np.ones(len(places_P), np.bool_)
    shared_W = np.bincount(windows.texts, minlength=1)[windows.texts] > 1
    chosen = np.flatnonzero(np.repeat(shared_W, windows.lengths))
    if not len(chosen):
        return best_P
    window = np.repeat(np.arange(len(windows)), windows.lengths)[chosen]
    place = places_P[chosen]
    context = np.minimum(place - windows.starts[window], windows.ends[window] - 1 - place)
    # BERT adds a hundredth of the window's length to the context.
    score = 100 * context + windows.lengths[window]
    piece = windows.texts[window] * (int(windows.ends.max()) + 1) + place
    order = np.lexsort((window, -score, piece))
    first = np.ones(len(order), np.bool_)
    first[1:] = piece[order][1:] != piece[order][:-1]
    best_P[chosen] = False
    best_P[chosen[order[first]]] = True
    return best_P
