"""Counter-based random numbers: each is a function of a seed and of counters (epoch, sample, position…).

No generator has a state to save, so a run resumes at no cost and the order of computation does not matter. A key is a
64-bit hash of (seed, counters) and names one stream of numbers; `bits` returns the numbers at any positions of a
stream. The mixing function is the finaliser of splitmix64, and the walk through a stream is splitmix64 (Steele, Lea and
Flood, 2014).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

UInts: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[Any]
Counter: TypeAlias = int | str | Ints | np.integer[Any]
"""A part of a stream's name: an integer (modulo 2**64), a string, or an array of integers (one stream for each)."""

_ALL = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd: multiples of it never repeat before 2**64
_STEP64 = np.uint64(_STEP)
_FOLD = 0xD1342543DE82EF95  # another odd number, so that folding a counter differs from walking a stream
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SECOND_HALF = 0x5851F42D4C957F2D
_TO_UNIT = 2.0**-53


def key(seed: int, *counters: Counter) -> UInts:
    """The key of the stream named by a seed and counters; arrays broadcast, the result has their common shape.

    The order of the counters matters. Two names that differ only in one integer never share a key.
    """
    # Most names begin with plain integers and strings; folding these without arrays is ten times as fast.
    state, done = _as_int(int(seed)), 0
    for counter in counters:
        if not isinstance(counter, (int, str)):
            break
        state = _mix_int(state * _STEP + _mix_int(_as_int(counter) + _FOLD))
        done += 1
    return fold(np.array(state, dtype=np.uint64), *counters[done:])


def fold(keys: Ints, *counters: Counter) -> UInts:
    """Derive keys from keys: `fold(key(s, a), b)` equals `key(s, a, b)`. Shapes broadcast."""
    shape = np.shape(keys)
    state = np.array(keys, dtype=np.uint64, ndmin=1)
    for counter in counters:
        if isinstance(counter, (int, str)):
            mixed: np.uint64 | UInts = np.uint64(_mix_int(_as_int(counter) + _FOLD))
        else:
            shape = np.broadcast_shapes(shape, np.shape(counter))
            mixed = mix(_as_uint64(counter) + np.uint64(_FOLD))
        state = mix(state * _STEP64 + mixed)
    return state.reshape(shape)


def bits(keys: UInts, positions: Ints | int) -> UInts:
    """The 64 random bits at the given positions (from 0) of the given streams; shapes broadcast."""
    shape = np.broadcast_shapes(np.shape(keys), np.shape(positions))
    return mix(np.atleast_1d(keys) + (_as_uint64(positions) + np.uint64(1)) * _STEP64).reshape(shape)


def uniforms_at(keys: UInts, positions: Ints | int) -> Floats:
    """Uniform numbers in [0, 1) (53 bits) at the given positions of the given streams; shapes broadcast."""
    values: Floats = (bits(keys, positions) >> np.uint64(11)) * _TO_UNIT
    return values


def uniforms(seed: int, *counters: Counter, n: int) -> Floats:
    """The first n uniform numbers in [0, 1) of each named stream: shape [n], or [..., n] where counters are arrays.

    For a batch of samples: `uniforms(seed, "mlm", epochs_B, samples_B, n=4)` is a [B, 4] array.
    """
    return uniforms_at(key(seed, *counters)[..., None], np.arange(n))


def generator(seed: int, *counters: int | str | np.integer[Any]) -> np.random.Generator:
    """A NumPy generator (Philox) of one stream, for shuffles and special distributions; making it takes about 20 µs."""
    first = int(key(seed, *counters))
    second = int(key(seed, *counters, _SECOND_HALF))
    # Philox as a counter-based generator: all its state is this key and a counter that starts at zero.
    return np.random.Generator(np.random.Philox(key=np.array([first, second], dtype=np.uint64)))


@lru_cache(maxsize=1024)
def _hash(name: str) -> int:
    """64 bits of a string, the same on every machine (Python's own hash is not)."""
    return int.from_bytes(blake2b(name.encode("utf-8"), digest_size=8).digest(), "little")


def _as_int(counter: int | str) -> int:
    return (_hash(counter) if isinstance(counter, str) else counter) & _ALL


def _as_uint64(counter: Ints | int | np.integer[Any]) -> UInts:
    """A new array of unsigned 64-bit numbers; never 0-d, as NumPy warns about the intended overflow of scalars."""
    if isinstance(counter, int):
        return np.array([counter & _ALL], dtype=np.uint64)
    array = np.asarray(counter)
    assert array.dtype.kind in "iu", f"a counter must be an integer or a string, not {array.dtype}"
    return np.atleast_1d(array.astype(np.uint64))


def mix(z: UInts) -> UInts:
    """The finaliser of splitmix64, in place: a bijection in which every input bit changes half of the output bits."""
    z ^= z >> _S30
    z *= _M1
    z ^= z >> _S27
    z *= _M2
    z ^= z >> _S31
    return z


def _mix_int(z: int) -> int:
    """`mix` of one plain number (modulo 2**64)."""
    z &= _ALL
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _ALL
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _ALL
    return z ^ (z >> 31)
