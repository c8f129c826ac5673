"""Handlers of signals, deferred while something is done that must not be left half done."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["handlers_deferred"]

NUMBERS = sorted(int(number) for number in signal.valid_signals())
_handler_of: Callable[[int], Any] = getattr(sys.modules.get("_signal"), "getsignal", signal.getsignal)
"""That of `signal` looks for a name in an enumeration, which would cost each `save()` 40 us for all signals."""


@contextmanager
def handlers_deferred() -> Iterator[None]:
    """Call handlers that are written in Python after the block, also that of Ctrl-C. It costs 10 us.

    Python calls them in the main thread only. A mask of this thread is not enough: another thread may receive the
    signal, and the main thread is interrupted nevertheless.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    is_deferring = True
    replaced: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def defer(number: int, frame: FrameType | None) -> None:
        if is_deferring:
            received.append(number)
        else:  # one handler raised before this one was restored
            replaced[number](number, frame)

    try:
        for number in NUMBERS:
            handler = _handler_of(number)
            if callable(handler):  # neither SIG_DFL nor SIG_IGN, which are numbers, nor None
                replaced[number] = handler
                signal.signal(number, defer)
        yield
    finally:
        is_deferring = False
        for number, handler in replaced.items():
            signal.signal(number, handler)
        for number in received:
            signal.raise_signal(number)
