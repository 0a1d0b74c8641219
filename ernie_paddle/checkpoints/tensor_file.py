"""One variable in one file, as saved by Paddle's static graphs.

Little-endian: u32 version 0; u64 number of levels of sequence offsets, and for each its u64 size and bytes; u32 version
0; i32 size of a `TensorDesc` message of Protocol Buffers (field 1: type of the numbers; field 2, repeated: sizes); the
numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from propeller.errors import UserError

_TYPES: dict[int, str] = {
    0: "bool", 1: "int16", 2: "int32", 3: "int64", 4: "float16", 5: "float32", 6: "float64", 20: "uint8", 21: "int8",
    22: "uint16",
}  # fmt: skip
"""Numbers of `VarType.Type`; 22 is bfloat16, whose bits are kept."""
_MOST_DIMENSIONS = 9


def read_tensor(path: Path) -> NDArray[Any]:
    """Read the array in a file of one variable.

    Raises:
        UserError: The file has another format, is truncated, or has bytes after the end.
    """
    raw = path.read_bytes()
    try:
        (version, levels), place = struct.unpack_from("<IQ", raw), 12
        if version != 0 or levels > _MOST_DIMENSIONS:
            raise ValueError("it does not begin as one")
        for _ in range(levels):
            place += 8 + struct.unpack_from("<Q", raw, place)[0]
        version, size = struct.unpack_from("<Ii", raw, place)
        if version != 0 or not 0 <= size <= len(raw) - place - 8:
            raise ValueError("its description is damaged")
        place += 8
        dtype, shape = _parse_description(raw[place : place + size])
        place += size
        wanted = dtype.itemsize * int(np.prod(shape, dtype=object))
        if len(raw) - place != wanted:
            raise ValueError(f"{len(raw) - place:,} bytes of numbers instead of {wanted:,}")
        return np.frombuffer(raw, dtype, offset=place).reshape(shape)
    except (struct.error, ValueError) as error:
        raise UserError(f"{path}: damaged, or not a variable that Paddle saved ({error})") from None


def write_tensor(path: Path, array: NDArray[Any]) -> None:
    """Write an array as the same bytes as Paddle's own writer."""
    kind = next(number for number, name in _TYPES.items() if np.dtype(name) == array.dtype)
    description = b"\x08" + _varint(kind) + b"".join(b"\x10" + _varint(size) for size in array.shape)
    head = struct.pack("<IQIi", 0, 0, 0, len(description))
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    path.write_bytes(head + description + little.tobytes())


def _parse_description(raw: bytes) -> tuple[np.dtype[Any], tuple[int, ...]]:
    kind: int | None = None
    shape: list[int] = []
    numbers = _varints(raw)
    for tag in numbers:
        if tag == 0x08:
            kind = next(numbers, None)
        elif tag == 0x10:
            shape.append(next(numbers, -1))
        else:
            raise ValueError("its description is damaged")
    if kind is None or kind not in _TYPES:
        raise ValueError(f"its type of numbers is {kind}")
    if len(shape) > _MOST_DIMENSIONS or any(not 0 <= n < 1 << 40 for n in shape):
        raise ValueError(f"its shape is {shape}")
    return np.dtype(_TYPES[kind]).newbyteorder("<"), tuple(shape)


def _varints(raw: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in raw:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield value
            value = shift = 0
    if shift:
        raise ValueError("its description is truncated")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
