"""Multi-granularity target fragments (ERNIE-GEN, section 3.1): which stretches of a text become the target.

Shapes: n tokens of a text, k fragments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class FragmentRule:
    """The settings of the sampling.

    Attributes:
        budget: share of the tokens of a text that its fragments hold (γ in the paper).
        lengths: the shortest and the longest fragment, in tokens, of each distribution of lengths; every length
            between them is equally likely.
        shares: the probability of each distribution. One distribution is drawn for each text.

    Raises:
        DataError: a value is out of range.
    """

    budget: float = 0.25
    lengths: tuple[tuple[int, int], ...] = ((1, 4), (4, 32))
    shares: tuple[float, ...] = (0.4, 0.6)

    def __post_init__(self) -> None:
        if not 0 < self.budget < 1:
            raise DataError(f"the budget of the fragments must lie between 0 and 1, not {self.budget}")
        if not self.lengths or len(self.lengths) != len(self.shares):
            raise DataError(
                f"give a share for each of the {len(self.lengths)} distributions of lengths, not {len(self.shares)}"
            )
        for shortest, longest in self.lengths:
            if not 1 <= shortest <= longest:
                raise DataError(f"lengths of fragments begin at 1 and ascend; {shortest} to {longest} do not")
        if min(self.shares) < 0 or not sum(self.shares) > 0:
            raise DataError(f"the shares of the distributions must be 0 or more and not all 0, not {self.shares}")


def sample_fragments(n: int, rule: FragmentRule, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw the fragments of a text of `n` (1 or more) tokens, of which at least one stays.

    Lengths are drawn until the budget, rounded and at least one token, is spent; the last fragment is shortened to
    what is left of the budget. The fragments come in a random order and lie anywhere: all placements without an overlap
    are equally likely. Fragments may touch, and tokens near both ends of the text are taken less often than others. A
    text of one token has no fragment.

    Returns:
        The first token and the length of each fragment, int64 [k] each, in the order of the text.
    """
    shares = np.array(rule.shares) / sum(rule.shares)
    shortest, longest = rule.lengths[int(generator.choice(len(shares), p=shares))]
    budget = min(max(1, round(rule.budget * n)), n - 1)
    if not budget:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ends = np.cumsum(generator.integers(shortest, longest + 1, size=-(-budget // shortest)))
    ends = np.append(ends[ends < budget], budget)
    lengths = generator.permutation(np.diff(ends, prepend=0))
    # Let every fragment be one place among the tokens that stay: k of n - budget + k places are drawn.
    k = len(lengths)
    places = np.sort(generator.choice(n - budget + k, size=k, replace=False))
    starts = places - np.arange(k) + np.cumsum(lengths) - lengths
    return starts.astype(np.int64), lengths.astype(np.int64)
