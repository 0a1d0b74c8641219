"""The handling of SIGTERM and Ctrl-C, which end a run in an orderly way after the current step."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any


class StopSignals:
    """A context in which the first SIGTERM or Ctrl-C only sets `requested`; the loop looks at it after each step.

    SIGTERM means: save and end with exit code 0. Ctrl-C means: end with one line and exit code 130; a second Ctrl-C
    ends at once, as it would without this class. Outside the main thread, where Python allows no handlers, nothing is
    caught.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """True once the run should end after the current step."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """Exit code for the received signal: 0 for none or SIGTERM, 130 for Ctrl-C."""
        return 130 if self.received == signal.SIGINT else 0

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._catch)
        return self

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        # A SIGTERM asks for a save and is not taken back by a Ctrl-C that follows.
        if self.received is None:
            self.received = signal.Signals(number)
            word = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
            again = " (press Ctrl-C again to end at once)" if number == signal.SIGINT else ""
            print(f"{word}: ending after this step{again}", file=sys.stderr, flush=True)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
