"""Ctrl-C between two steps, never inside one: the weights are those of the last whole step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class StepwiseInterrupt:
    """While entered, Ctrl-C is remembered and raised by the next :meth:`check`; a second one is raised at once.

    Only in the main thread, and only where Ctrl-C has Python's own meaning: somebody else's handler stays.
    """

    def __init__(self) -> None:
        self.pending = False
        self._installed = False

    def __enter__(self) -> StepwiseInterrupt:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._remember)
            self._installed = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False
        if kind is None:
            self.check()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True

    def check(self) -> None:
        """Raise KeyboardInterrupt where Ctrl-C was pressed since the last check."""
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt
