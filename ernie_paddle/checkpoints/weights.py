"""Weights of an encoder and its heads under our names, independent of the layout that they were read from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_paddle.checkpoints.heads import FoundHead, Head
from ernie_paddle.models.config import ErnieConfig
from propeller.errors import UserError
from propeller.values import Arrays
from reader.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Weights:
    """The contents of a folder of weights.

    Attributes:
        path: The folder.
        layout: Key of its layout in `layouts.LAYOUTS`.
        config: The architecture.
        arrays: float32 arrays under our names, linear weights [in, out].
        sources: Name in the source of each array.
        left_out: Names in the source that are not weights of the model, with the reason.
        notes: Sentences about decisions made when reading.
        tokenizer: The tokenizer; None if the source holds no vocabulary and none was given.
        head: Meaning of `classifier`; None if there is none, or none that other projects have.
        only_ours: Reason why no other layout can hold these weights; None if others can.
        task_settings: Settings of the task for which a checkpoint of ours was fine-tuned; its task type knows the head,
            see `with_head`.
    """

    path: Path
    layout: str
    config: ErnieConfig
    arrays: Arrays
    sources: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tokenizer: Tokenizer | None = None
    head: Head | None = None
    only_ours: str | None = None
    task_settings: Mapping[str, Any] | None = None

    def with_head(self, found: FoundHead) -> Weights:
        """The same weights, with what is known about their head."""
        return replace(self, head=found.head, only_ours=found.only_ours, notes=(*self.notes, *found.notes))

    def digest(self) -> str:
        """SHA-256 of names, shapes and values: equal weights have equal digests in every layout."""
        found = hashlib.sha256()
        for name in sorted(self.arrays):
            array = self.arrays[name]
            found.update(f"{name} {array.dtype} {array.shape}\n".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def noting(self, *notes: str) -> Weights:
        """The same weights with further notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass
class Renamed:
    """Arrays that are being renamed from a source's names to ours."""

    arrays: Arrays = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def put(self, name: str, array: NDArray[Any], source: str) -> None:
        """Add one array.

        Raises:
            UserError: Two tensors of the source have the same name here.
        """
        if name in self.arrays:
            raise UserError(f"{self.sources[name]} and {source} are both {name} here; remove one of them")
        self.arrays[name] = array
        self.sources[name] = source

    def weights(self, path: Path, layout: str, config: ErnieConfig, notes: list[str], found: FoundHead) -> Weights:
        """The weights of the renamed arrays, with everything else known about the folder."""
        return Weights(
            path=path,
            layout=layout,
            config=config,
            arrays=self.arrays,
            sources=self.sources,
            left_out=self.left_out,
            notes=(*self.notes, *notes, *found.notes),
            head=found.head,
            only_ours=found.only_ours,
        )


def floats_only(tensors: Mapping[str, NDArray[Any]], renamed: Renamed) -> Arrays:
    """Arrays as float32; integers (buffers, counters) are dropped, 16-bit and 64-bit floats are converted and noted.

    Paddle stores bfloat16 as uint16, whose bits are the upper half of a float32.
    """
    found: Arrays = {}
    widened: dict[str, int] = {}
    for name, array in tensors.items():
        if array.dtype == np.uint16:
            kind, array = "bfloat16", (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        elif array.dtype.kind != "f":
            renamed.left_out[name] = f"holds {array.dtype}, not floating-point numbers"
            continue
        else:
            kind = str(array.dtype)
        if kind != "float32":
            widened[kind] = widened.get(kind, 0) + 1
        found[name] = np.ascontiguousarray(array, np.float32).reshape(array.shape)
    renamed.notes += [f"{count} tensors are {kind} in the source and float32 here" for kind, count in widened.items()]
    return found


def take_masters(tensors: Mapping[str, NDArray[Any]], renamed: Renamed) -> Arrays:
    """Checkpoints of 16-bit runs hold the float32 value of X as `X.master`: use the master and drop X."""
    masters = {name.removesuffix(".master"): name for name in tensors if name.endswith(".master")}
    found: Arrays = {}
    for name, array in tensors.items():
        if name in masters.values():
            found[name.removesuffix(".master")] = array
        elif name in masters:
            renamed.left_out[name] = f"{masters[name]} is its float32 value"
        else:
            found[name] = array
    if masters:
        renamed.notes.append(f"{len(masters)} float32 masters were used instead of 16-bit tensors")
    return found


def drop_tied(
    renamed: Renamed, source: str, array: NDArray[Any], kept: str, same: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    """Drop a second copy of a tied tensor, which must be equal to `same(the kept one)`.

    Raises:
        UserError: The copies differ, so that dropping one would lose weights.
    """
    other = renamed.arrays.get(kept)
    if other is not None and not np.array_equal(array, same(other)):
        raise UserError(f"{source} differs from {kept}; models with an untied decoder are not supported")
    renamed.left_out[source] = f"tied to {kept}"
