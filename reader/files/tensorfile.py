"""Safetensors files written as a stream and read as memory maps.

The library's own writer needs all arrays in memory, but a shard is assembled from many parts and may be larger than
memory. Format: 8 bytes little-endian header length, JSON header, then the arrays without gaps.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.errors import DataError

_CODES = {"uint8": "U8", "uint16": "U16", "int16": "I16", "int32": "I32", "int64": "I64", "float32": "F32"}
_DTYPES = {code: np.dtype(name).newbyteorder("<") for name, code in _CODES.items()}
_MAX_HEADER = 100_000_000


class TensorFileWriter:
    """Writes one file whose array sizes are known beforehand, then renames it into place.

    Args:
        path: path of the finished file; until then it is written to `path` + ".tmp".
        layout: name → (dtype name, length) of the one-dimensional arrays, which must be written in this order. Put wide
            types first, so that every array is aligned.
        metadata: strings by name for the header.
    """

    def __init__(self, path: Path, layout: Mapping[str, tuple[str, int]], metadata: Mapping[str, str]) -> None:
        self.path = path
        self._tmp = path.with_name(path.name + ".tmp")
        self._left = {name: (np.dtype(dtype), length) for name, (dtype, length) in layout.items()}
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        offset = 0
        for name, (dtype, length) in self._left.items():
            end = offset + dtype.itemsize * length
            header[name] = {"dtype": _CODES[dtype.name], "shape": [length], "data_offsets": [offset, end]}
            offset = end
        raw = json.dumps(header, ensure_ascii=True).encode("utf-8")
        raw += b" " * (-len(raw) % 8)
        self._file = self._tmp.open("wb")
        self._file.write(len(raw).to_bytes(8, "little") + raw)

    def write(self, name: str, chunks: Iterable[NDArray[Any]]) -> None:
        """Writes one array, given in chunks that add up to its length in the layout."""
        assert next(iter(self._left)) == name, "arrays come in the order of the layout"
        dtype, length = self._left.pop(name)
        written = 0
        for chunk in chunks:
            array = np.ascontiguousarray(chunk, dtype=dtype.newbyteorder("<"))
            self._file.write(array.data)
            written += len(array)
        assert written == length, f"{name}: {written} entries written, {length} promised"

    def __enter__(self) -> TensorFileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            assert not self._left, f"arrays not written: {', '.join(self._left)}"
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._tmp, self.path)
        else:
            self._file.close()
            self._tmp.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Writes one-dimensional arrays that are in memory."""
    layout = {name: (array.dtype.name, len(array)) for name, array in arrays.items()}
    with TensorFileWriter(path, layout, metadata) as writer:
        for name, array in arrays.items():
            writer.write(name, [array])


def map_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Maps a file's one-dimensional arrays into memory, without reading them.

    Returns:
        Read-only arrays by name, and the header's metadata.

    Raises:
        DataError: the file is missing, cut short or not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header_size = int.from_bytes(file.read(8), "little")
            if size < 8 or header_size > min(size - 8, _MAX_HEADER):
                raise DataError(f"{path}: cut short or not a safetensors file ({size} bytes)")
            header = json.loads(file.read(header_size))
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}") from error
    except (ValueError, UnicodeDecodeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: the header is damaged ({error})") from error
    return _views(path, header, buffer, 8 + header_size, size)


def _views(
    path: Path, header: dict[str, Any], buffer: mmap.mmap, base: int, size: int
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    try:
        metadata = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
        arrays: dict[str, NDArray[Any]] = {}
        for name, entry in header.items():
            dtype = _DTYPES[entry["dtype"]]
            begin, end = (int(offset) for offset in entry["data_offsets"])
            (length,) = entry["shape"]
            if base + end > size or end - begin != dtype.itemsize * length:
                raise DataError(f"{path}: cut short: {name} should end at byte {base + end}, the file has {size}")
            arrays[name] = np.frombuffer(buffer, dtype=dtype, count=length, offset=base + begin)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: the header is damaged ({error!r})") from error
    return arrays, metadata


def write_json_atomically(path: Path, data: Any) -> None:
    """Writes JSON to a temporary file, fsyncs the file, renames it into place and fsyncs the folder."""
    tmp = path.with_name(path.name + ".tmp")
    with tmp.open("w", encoding="utf-8", newline="\n") as file:
        json.dump(data, file, ensure_ascii=True, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(tmp, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
