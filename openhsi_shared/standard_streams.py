"""Standard streams that are missing, closed or broken: with pythonw, in a daemon, after `2>&-`.

A new file or shared memory gets the lowest free descriptor. If that is 0, 1 or 2, what a C library prints is written
into it. So these three are filled before anything of this library is opened.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["TolerantStream", "fill_standard_descriptors", "flushes", "is_terminal", "without_broken_streams"]


def fill_standard_descriptors() -> None:
    """Open /dev/null as each of the descriptors 0, 1 and 2 that is closed. Children inherit it. Idempotent, 1 us."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened > 2:  # another thread was faster
                os.close(opened)
            else:
                os.set_inheritable(opened, True)


def is_terminal(stream: Any) -> bool:
    """Whether `stream` shows a progress bar. False for None, a closed stream, and objects that only have `write`."""
    try:
        return bool(stream.isatty())
    except Exception:  # noqa: BLE001 - whatever the program has put there, it is no terminal
        return False


def flushes(stream: Any) -> bool:
    """Flush `stream`. False if it is broken; True for None, which takes all."""
    try:
        if stream is not None:
            stream.flush()
    except Exception:  # noqa: BLE001 - a closed pipe, a full disk, a widget that is gone
        return False
    return True


@contextmanager
def without_broken_streams() -> Iterator[None]:
    """Replace `sys.stdout` and `sys.stderr` by None while they cannot be flushed: `multiprocessing` flushes them.

    What is printed into them meanwhile is lost, as it would be otherwise.
    """
    broken = {name: stream for name in ("stdout", "stderr") if not flushes(stream := getattr(sys, name))}
    for name in broken:
        setattr(sys, name, None)
    try:
        yield
    finally:
        for name, stream in broken.items():
            setattr(sys, name, stream)


class TolerantStream:
    """A text stream for what may be lost, such as a progress bar: the first failure ends its output, without error."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_broken = False

    def write(self, text: str) -> int:
        """Write, unless the stream has failed."""
        self._call("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush, unless the stream has failed."""
        self._call("flush")

    def _call(self, method: str, *arguments: Any) -> None:
        if not self._is_broken:
            try:
                getattr(self._stream, method)(*arguments)
            except Exception:  # noqa: BLE001 - collecting must not end because its progress cannot be shown
                self._is_broken = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
