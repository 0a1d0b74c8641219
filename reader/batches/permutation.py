"""A pseudo-random order of n items that is computed instead of stored, as a function of the seed alone.

A Feistel network permutes pairs (left, right) of numbers below a, with a*a the first square not below n; indices that
land outside range(n) are sent through again until they are inside ("cycle walking"), which keeps the map one-to-one.
Because a*a is barely above n, second walks are rare. See Black and Rogaway, "Ciphers with arbitrary finite domains",
2002.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.random import bits, key, mix

_ROUNDS = 6
_HALF = np.uint64(32)


class Permutation:
    """A bijection of range(n) that depends on (n, seed) alone, and whose memory does not grow with n.

    A call with integers of any shape in range(n) returns int64 of that shape.
    """

    def __init__(self, n: int, seed: int) -> None:
        assert 1 <= n < 2**62, f"a permutation needs 1 <= n < 2**62, not {n}"
        self.n = n
        self._side = np.uint64(isqrt(n - 1) + 1)
        self._keys = bits(key(seed, "order"), np.arange(_ROUNDS))

    def __call__(self, indices: NDArray[Any] | int) -> NDArray[np.int64]:
        values = np.array(indices, dtype=np.int64, ndmin=1)
        assert values.size == 0 or (values.min() >= 0 and values.max() < self.n), f"an index is outside range({self.n})"
        result = self._walk(values.astype(np.uint64))
        outside = np.flatnonzero(result.ravel() >= self.n)
        flat = result.reshape(-1)
        while outside.size:
            flat[outside] = self._walk(flat[outside])
            outside = outside[flat[outside] >= self.n]
        return flat.astype(np.int64).reshape(np.shape(indices))

    def _walk(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """One pass through the network: a bijection of range(side * side) for any round function."""
        left, right = np.divmod(values, self._side)
        for round_key in self._keys:
            # The top 32 bits are scaled to range(side) instead of a slow remainder; they need not be exactly uniform.
            noise = mix(right + round_key) >> _HALF
            noise *= self._side
            noise >>= _HALF
            left += noise
            left[left >= self._side] -= self._side
            left, right = right, left
        left *= self._side
        left += right
        return left
