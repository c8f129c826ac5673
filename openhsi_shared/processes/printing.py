"""What code of a user prints is logged."""

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from openhsi_shared.loggers import safe_logger

__all__ = ["LoggedPrints", "logged_prints"]

logger = safe_logger(__name__)

_one_at_a_time = threading.RLock()
"""`sys.stdout` is restored in the order in which it was replaced."""


class LoggedPrints(io.TextIOBase):
    """A stream in place of `sys.stdout`: what a thread prints is logged; others print to `elsewhere`, if given."""

    def __init__(self, elsewhere: Any = None) -> None:
        self._elsewhere = elsewhere
        self._thread = threading.get_ident()
        self._begun = ""
        """Of a line: `print` writes word by word."""

    def write(self, text: str) -> int:
        """Log each line that is not empty, at level INFO."""
        if self._elsewhere is not None and threading.get_ident() != self._thread:
            return int(self._elsewhere.write(text))
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                logger.info("printed: %s", line)
        return len(text)

    def flush(self) -> None:
        """Log what is not yet a whole line."""
        if self._begun and threading.get_ident() == self._thread:
            self.write("\n")


@contextmanager
def logged_prints() -> Iterator[None]:
    """Log what this thread prints meanwhile; others print as before. Waits while another thread is in it."""
    with _one_at_a_time, redirect_stdout(LoggedPrints(sys.stdout)) as printed:
        try:
            yield
        finally:
            printed.flush()
