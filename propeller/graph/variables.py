"""The variables that all Programs of a Learner share: parameters, and the optimizer's state, in one scope."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import paddle

from propeller.seeds import derive_seed


class Variables:
    """Arrays by name in a Paddle scope.

    The array of a parameter has the parameter's name. An array that belongs to a parameter is called
    "<parameter>@<what>", and one that belongs to the whole run "@<what>", so that names never clash ('@' is refused in
    the names of inputs and parameters).
    """

    def __init__(self, place: paddle.base.core.Place) -> None:
        self.scope = paddle.static.Scope()
        self.place = place
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._initial: dict[str, float] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def get(self, name: str) -> np.ndarray:
        """A copy of the array."""
        return np.array(self.scope.find_var(name).get_tensor())

    def set(self, name: str, array: np.ndarray) -> None:
        """Set or create a float32 variable."""
        array = np.ascontiguousarray(array, dtype=np.float32)
        self.scope.var(name).get_tensor().set(array, self.place)
        self.shapes[name] = array.shape

    def declare(self, name: str, shape: tuple[int, ...], initial: float) -> paddle.pir.Value:
        """A persistable variable in the Program being built; a new one is filled with ``initial`` in the scope.

        The variable is written by operators that work in place, or by ``paddle.assign(..., output=...)``.
        """
        if name not in self.shapes:
            self.set(name, np.full(shape, initial, np.float32))
        self._initial[name] = initial
        value = paddle._pir_ops.data(name, list(shape), paddle.float32, paddle.base.core.Place())
        value.persistable = True
        return value

    def reset(self, names: Iterable[str]) -> None:
        """Fill declared variables with their initial values again."""
        for name in names:
            self.set(name, np.full(self.shapes[name], self._initial[name], np.float32))

    def has_initial(self, name: str) -> bool:
        """Whether ``reset`` knows the initial value of this variable, because a Program has declared it."""
        return name in self._initial

    @staticmethod
    def is_buffer(name: str) -> bool:
        """Whether a variable only holds sums from one micro-batch to the next, and is zero between steps."""
        return name.endswith("@gradient") or name.startswith("@statistics")

    def names(self, *, parameters: bool) -> list[str]:
        """Sorted names of the parameters, or of everything else."""
        return sorted(name for name in self.shapes if ("@" not in name) == parameters)

    def run_startup(self, executor: paddle.static.Executor, startup: paddle.static.Program, seed: int) -> None:
        """Create those parameters of a start-up Program that do not exist yet.

        Every random initial value is drawn with a seed of its own, derived from ``seed`` and the parameter's name, so
        that it depends neither on the other parameters nor on the order in which Programs are built.
        """
        names = _seed_initializers(startup, seed)
        missing = [name for name in names if name not in self.shapes]
        if not missing:
            return
        aside = paddle.static.Scope()
        executor.run(startup, scope=aside)
        for name in missing:
            self.set(name, np.array(aside.find_var(name).get_tensor()))

    def digest(self, names: Iterable[str]) -> bytes:
        """SHA-256 of the bits of some variables."""
        digest = hashlib.sha256()
        for name in names:
            digest.update(name.encode())
            digest.update(self.get(name).tobytes())
        return digest.digest()


def _seed_initializers(startup: paddle.static.Program, seed: int) -> list[str]:
    """Give every random operator of a start-up Program its seed; returns the names of the Program's parameters."""
    names: list[str] = []
    waiting: list[paddle.pir.Operation] = []
    for op in startup.global_block().ops:
        if op.name() == "builtin.set_parameter":
            name = op.attrs()["parameter_name"]
            # The operators of an initializer stand right before the operator that names their result.
            for number, random_op in enumerate(waiting):
                random_op.set_int_attr("seed", derive_seed(seed, "init", name, number))
            waiting = []
            names.append(name)
        elif op.has_attr("seed"):
            waiting.append(op)
    return names
