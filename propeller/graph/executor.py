"""Running a Program many times without preparing it each time.

``paddle.static.Executor.run`` turns the whole Program into text at every call, to look up the compiled Program (over a
millisecond for each hundred operators), and keeps only the last eight compiled Programs. A Runner compiles its Program
once and keeps the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from propeller.values import Value


class Runner:
    """A compiled Program over one scope, with fixed outputs."""

    def __init__(
        self,
        executor: paddle.static.Executor,
        program: paddle.static.Program,
        inputs: Sequence[str],
        outputs: Sequence[Value],
        scope: paddle.static.Scope,
    ) -> None:
        """Prepare to run a Program, which is compiled in the first run.

        Args:
            executor: executor of the device.
            program: the Program to run.
            inputs: names of all fed variables.
            outputs: variables whose values a run returns.
            scope: scope of the Program's persistable variables.
        """
        self._executor = executor
        self._program = program
        self._inputs = list(inputs)
        self._outputs = list(outputs)
        self._scope = scope
        self._compiled: tuple[Any, Any, Any] | None = None

    def __call__(self, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run once with an array for each input; returns copies of the outputs."""
        assert feed.keys() == set(self._inputs), f"fed {sorted(feed)}, inputs are {sorted(self._inputs)}"
        if self._compiled is None:
            # The same steps as Executor.run (Paddle 3.3), the first of them done once.
            self._compiled = self._executor._executor_cache.get_pir_program_and_executor(
                self._program,
                feed,
                self._outputs,
                "feed",
                "fetch",
                self._executor.place,
                self._scope,
                self._executor.plan,
            )
        program, compiled, data_operators = self._compiled
        self._executor._pir_feed_data(program, feed, self._scope, data_operators)
        values: list[np.ndarray] = compiled.run(self._inputs, True, False)
        return values
