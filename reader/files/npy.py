"""Writing a NumPy file (.npy) row by row, without the rows in memory and without their number known beforehand."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from reader.errors import DataError


class NpyWriter:
    """A context that writes float32 rows; the file gets its name only when the block ends without an error.

    Attributes:
        rows: number of rows written.
    """

    def __init__(self, path: Path, width: int) -> None:
        """Open a temporary file beside `path`, for rows of `width` numbers.

        Raises:
            DataError: `path` is a folder, or is in a folder that does not exist.
        """
        if path.is_dir():
            raise DataError(f"{path}: this is a folder; name a file in it")
        if not path.parent.is_dir():
            raise DataError(f"{path}: there is no folder {path.parent}; make it first")
        self.rows = 0
        self._path = path
        self._aside = path.with_name(f".tmp-{path.name}")
        self._width = width
        self._file: BinaryIO = open(self._aside, "wb")  # noqa: SIM115 - closed by __exit__
        self._header()

    def write(self, rows: NDArray[np.float32]) -> None:
        """Append rows, [n, width]."""
        assert rows.dtype == np.float32, rows.dtype
        assert rows.shape[1:] == (self._width,), rows.shape
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self.rows += len(rows)

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            # NumPy leaves room in the header for any number of rows.
            body = self._start
            self._file.seek(0)
            self._header()
            assert self._start == body
        self._file.close()
        if kind is None:
            os.replace(self._aside, self._path)
        else:
            self._aside.unlink(missing_ok=True)

    def _header(self) -> None:
        description: dict[str, Any] = {"shape": (self.rows, self._width), "fortran_order": False}
        npy.write_array_header_1_0(self._file, {**description, "descr": npy.dtype_to_descr(np.dtype("<f4"))})
        self._start = self._file.tell()
