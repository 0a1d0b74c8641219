"""Reading a pickle that holds only dictionaries of NumPy arrays, without running any code that it names.

A pickle is a program: it may name any function of any module and call it. Here every name is looked up in a short
table of stand-ins, which can only build arrays out of numbers and bytes; any other name, and any array of Python
objects, is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from propeller.errors import UserError

_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class RefusedError(Exception):
    """The pickle requests something that a file of tensors does not need."""


class _Function:
    """A stand-in that the pickle may call; it has no state that the pickle could change."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise RefusedError("it changes a function")

    def __setstate__(self, state: Any) -> NoReturn:
        raise RefusedError("it changes a function")


class _Dtype:
    """`numpy.dtype(code)` of plain numbers; the byte order is its state."""

    __slots__ = ("value",)

    def __init__(self, code: Any, *flags: Any) -> None:
        if code not in _NUMBERS:
            raise RefusedError(f"it holds an array of type {code!r}, not of numbers")
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 5 and state[1] in ("<", ">", "|", "=")):
            raise RefusedError("it holds a damaged type of numbers")
        if any(item is not None for item in state[2:5]):
            raise RefusedError("it holds an array of structures")
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """An array that is empty until its state is set."""

    __slots__ = ("value",)

    def __init__(self, *arguments: Any) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise RefusedError("it holds a damaged array")
        _, shape, dtype, in_columns, raw = state
        self.value = _from_bytes(raw, dtype, shape, "F" if in_columns else "C").value


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> _Array:
    """Build an array from its bytes (also as NumPy writes it with pickle's protocol 5)."""
    if isinstance(raw, str):  # bytes that Python 2 wrote
        raw = raw.encode("latin1")
    sizes = isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape)
    if not (isinstance(raw, (bytes, bytearray)) and isinstance(dtype, _Dtype) and sizes and order in ("C", "F")):
        raise RefusedError("it holds an array that is not made of numbers")
    array = _Array()
    array.value = np.frombuffer(raw, dtype.value).reshape(shape, order=order)
    array.value = np.ascontiguousarray(array.value, dtype.value.newbyteorder("=")).reshape(shape)
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """`_codecs.encode(text, "latin1")`, which represents bytes in the older protocols."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError("it encodes text")
    return text.encode("latin1")


def _pair(content: Any = ()) -> tuple[Any, ...]:
    """`tuple((name, array))`: how `paddle.save` writes a tensor with its name."""
    if not isinstance(content, (tuple, list)):
        raise RefusedError("it builds a tuple of something else")
    return tuple(content)


class _Ordered(dict[Any, Any]):
    """The stand-in of `collections.OrderedDict`; attributes that were set on it are dropped."""

    def __init__(self, pairs: Any = ()) -> None:
        super().__init__(pairs)

    def __setstate__(self, state: Any) -> None:
        pass


STAND_INS: dict[tuple[str, str], object] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Function(_Array) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Function(_from_bytes) for core in ("core", "_core")},
    ("numpy", "ndarray"): object(),
    ("numpy", "dtype"): _Function(_Dtype),
    ("_codecs", "encode"): _Function(_encode),
    **{(module, "tuple"): _Function(_pair) for module in ("builtins", "__builtin__")},
    ("collections", "OrderedDict"): _Function(_Ordered),
}
"""The stand-ins of everything that a pickle of tensors may name, by (module, name)."""


class _Reader(pickle.Unpickler):
    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        found = STAND_INS.get((module, name))
        if found is None:
            raise RefusedError(f"it asks for {module}.{name}")
        return found

    def persistent_load(self, identity: Any) -> NoReturn:
        raise RefusedError("it refers to something outside of itself")


def read_pickle(path: Path) -> dict[Any, Any]:
    """Read the dictionary in a pickle, with all arrays (including those in a pair with a name) as NumPy arrays.

    Raises:
        UserError: The file holds anything but tensors, or is damaged; no code that it names was run.
    """
    try:
        with path.open("rb") as stream:
            content = _Reader(stream).load()
        if not isinstance(content, dict):
            raise RefusedError(f"it holds {type(content).__name__.strip('_')}, not a dictionary")
        return {key: _plain(value, key) for key, value in content.items()}
    except RefusedError as error:
        raise UserError(
            f"{path}: refused, nothing in it was run: a file of weights holds tensors only, but {error}"
        ) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise any exception
        raise UserError(f"{path}: damaged, or not a pickle ({type(error).__name__}: {error})") from None


def _plain(value: Any, key: Any) -> Any:
    """Replace the stand-ins of arrays: returns an array, or a dictionary of names or of Paddle's big arrays."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, dict) and isinstance(key, str) and key.endswith("@@"):
        return value
    raise RefusedError(f"{key!r} is {type(value).__name__.strip('_')}")
