"""Counter-based random numbers: uniform, independent, and functions of their names alone."""

from __future__ import annotations

import subprocess
import sys
import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reader.random import bits, fold, generator, key, uniforms, uniforms_at

_MASK = 2**64 - 1
seeds = st.integers(-(2**63), 2**64 - 1)


def test_a_stream_is_splitmix64() -> None:
    # The first outputs of splitmix64 from state 0, as published with the generator.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC, 0x1B39896A51A8749B]
    assert bits(np.zeros(1, dtype=np.uint64), np.arange(5)).tolist() == published


@given(seeds, st.lists(seeds, max_size=4))
def test_keys_of_plain_numbers_and_of_arrays_agree(seed: int, counters: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays = [np.array([counter & _MASK], dtype=np.uint64) for counter in counters]
        assert int(key(seed, *arrays).item()) == int(key(seed, *counters))
        assert int(fold(key(seed), *counters)) == int(key(seed, *counters))


def test_key_broadcasts_and_each_entry_is_the_key_of_its_numbers() -> None:
    epochs, samples = np.arange(3)[:, None], np.arange(5, dtype=np.int32)
    together = key(7, "mlm", epochs, 2, samples)
    assert together.shape == (3, 5)
    for epoch in range(3):
        for sample in range(5):
            assert together[epoch, sample] == key(7, "mlm", epoch, 2, sample)
    assert np.array_equal(uniforms(7, "mlm", epochs, 2, samples, n=4)[1, 3], uniforms(7, "mlm", 1, 2, 3, n=4))


def test_names_of_different_streams_do_not_collide() -> None:
    names = [(), (0,), (0, 0), (1,), (0, 1), (1, 0), ("",), ("a",), ("a", 0), (0, "a"), (-1,)]
    keys = [int(key(0, *name)) for name in names] + [int(key(1)), int(key(1, 0))]
    assert len(set(keys)) == len(keys)
    grid = key(3, np.arange(400)[:, None], np.arange(400))
    assert len(np.unique(grid)) == grid.size


def test_strings_hash_the_same_in_every_process() -> None:
    program = "from reader.random import key; print(int(key(5, 'order', 'mlm')))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(out) == int(key(5, "order", "mlm"))


@pytest.mark.parametrize("layout", ["one stream", "first of many samples", "first of many epochs", "many seeds"])
def test_uniform_in_the_unit_interval(layout: str) -> None:
    n = 200_000
    values = {
        "one stream": lambda: uniforms(1, "u", n=n),
        "first of many samples": lambda: uniforms(1, "u", 0, np.arange(n), n=1)[:, 0],
        "first of many epochs": lambda: uniforms(1, "u", np.arange(n), 12, n=1)[:, 0],
        "many seeds": lambda: uniforms_at(np.array([int(key(s, "u")) for s in range(20_000)], dtype=np.uint64), 0),
    }[layout]()
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    counts = np.bincount((values * 1024).astype(int), minlength=1024)
    assert stats.chisquare(counts).pvalue > 1e-3
    pairs = (values[:-1:2] * 16).astype(int) * 16 + (values[1::2] * 16).astype(int)
    assert stats.chisquare(np.bincount(pairs, minlength=256)).pvalue > 1e-3


def test_streams_are_independent_of_each_other() -> None:
    n = 50_000
    streams = [uniforms(s, name, e, k, n=n) for s, name, e, k in _NEIGHBOURS]
    for a, b in combinations(streams, 2):
        # Correlation of independent uniforms: normal with deviation 1/sqrt(n); 5 deviations, also shifted by one place.
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(n)
        assert abs(np.corrcoef(a[1:], b[:-1])[0, 1]) < 5 / np.sqrt(n)


_NEIGHBOURS = [
    (0, "mlm", 0, 0),
    (1, "mlm", 0, 0),
    (0, "nsp", 0, 0),
    (0, "mlm", 1, 0),
    (0, "mlm", 0, 1),
    (0, "mlm", 1, 1),
]


def test_each_bit_of_a_counter_changes_half_of_the_bits() -> None:
    base = np.arange(2000, dtype=np.uint64) * np.uint64(977)
    for bit in (0, 1, 7, 20, 40, 63):
        changed = key(9, base) ^ key(9, base ^ np.uint64(1 << bit))
        flips = np.unpackbits(changed.view(np.uint8)).mean()
        assert abs(flips - 0.5) < 5 * 0.5 / np.sqrt(64 * len(base))


def test_generator_is_a_function_of_its_name() -> None:
    a, b = generator(3, "shuffle", 5), generator(3, "shuffle", 5)
    assert a.permutation(50).tolist() == b.permutation(50).tolist()
    draws = [generator(3, "shuffle", k).random() for k in range(2000)]
    assert len(set(draws)) == 2000
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
