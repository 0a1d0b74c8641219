"""Files of one variable, against Paddle's own reader and writer."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest

from ernie_paddle.checkpoints.tensor_file import read_tensor, write_tensor
from propeller.errors import UserError

SHAPES = [(), (1,), (0, 3), (200, 3), (2, 3, 1000)]
TYPES = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_a_written_file_is_read_bit_for_bit(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    array = (np.random.default_rng(0).standard_normal(shape) * 9).astype(dtype)
    write_tensor(tmp_path / "x", array)
    found = read_tensor(tmp_path / "x")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("shape", [(1,), (200, 3), (2, 3, 1000)])
@pytest.mark.parametrize("dtype", TYPES)
def test_bytes_are_those_of_paddle(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    from paddle.base import core

    array = (np.random.default_rng(0).standard_normal(shape) * 9).astype(dtype)
    tensor = core.DenseTensor()
    tensor.set(array, core.CPUPlace())
    core.save_dense_tensor(tensor, str(tmp_path / "theirs"))
    write_tensor(tmp_path / "ours", array)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert np.array_equal(read_tensor(tmp_path / "theirs"), array)


def test_offsets_of_sequences_are_passed_over(tmp_path: Path) -> None:
    write_tensor(tmp_path / "x", np.arange(4, dtype=np.float32))
    rest = (tmp_path / "x").read_bytes()[12:]
    levels = struct.pack("<IQQ2QQ3Q", 0, 2, 16, 0, 4, 24, 0, 1, 4)
    (tmp_path / "x").write_bytes(levels + rest)
    assert read_tensor(tmp_path / "x").tolist() == [0, 1, 2, 3]


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "word_embedding"
    write_tensor(path, np.arange(300, dtype=np.float32).reshape(3, 100))
    whole = path.read_bytes()
    for size in [*range(40), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="word_embedding: damaged, or not a variable"):
            read_tensor(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(UserError, match="1,201 bytes of numbers instead of 1,200"):
        read_tensor(path)
    rng = np.random.default_rng(0)
    for _ in range(500):
        raw = bytearray(whole)
        raw[rng.integers(40)] = rng.integers(256)
        path.write_bytes(raw)
        with contextlib.suppress(UserError):
            read_tensor(path)
