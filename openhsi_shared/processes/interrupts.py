"""Ctrl-C and SIGTERM during long work: it is stopped in good order, without half a file."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

__all__ = ["Interrupts"]


class Interrupts:
    """Handlers of both signals, unless the program has its own; in the main thread, else nothing is changed."""

    def __init__(self, stop: Callable[[BaseException], bool]) -> None:
        """`stop(error)`: let the work end with this error; False if the handler is to raise it now."""
        self._stop = stop
        self._replaced: dict[int, Any] = {}

    def install(self, *numbers: signal.Signals) -> Self:
        """Handle these signals."""
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._replaced[number] = signal.signal(number, self._handle)
        return self

    def restore(self) -> None:
        """Restore the handlers as they were. Idempotent."""
        if threading.current_thread() is threading.main_thread():
            for number in list(self._replaced):
                before = self._replaced.pop(number)
                if signal.getsignal(number) == self._handle:
                    signal.signal(number, before)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        if not self._stop(error):
            raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.restore()
