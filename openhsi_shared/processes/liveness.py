"""Liveness of the parent: detect that it is gone, for whatever reason.

The death of a parent is detected in three ways: end of file on the pipe, its sentinel, and a changed parent id. The
first two are held open by any child that the user's program forked (os.fork, the default of `multiprocessing` on
Linux), so all three are checked.
"""

import multiprocessing
import os
import select
import threading
import time
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["GONE", "Parent"]

CUT_TIMEOUT_S = 10.0
"""A living parent that has closed pipe and sentinel by mistake notices it earlier, and kills its child."""
POLL_INTERVAL_S = 0.02

GONE = object()
"""What `receive` returns when there will be no more messages."""


class Parent:
    """The parent of a spawned child, as seen by the child."""

    def __init__(self, connection: Connection, parent_id: int) -> None:
        self._connection = connection
        self._parent_id = parent_id
        self._sending = threading.Lock()
        process = multiprocessing.parent_process()
        self._watched: list[Any] = [connection] if process is None else [connection, process.sentinel]

    def receive(self, timeout_s: float = 0.25) -> Any:
        """Return the next message, None if there was none for `timeout_s`, or GONE if the parent has died."""
        ready = wait(self._watched, timeout_s)
        if self._connection in ready:
            try:
                return self._connection.recv()
            except (EOFError, OSError):
                return GONE
        if ready or (hasattr(os, "getppid") and os.getppid() != self._parent_id):
            return GONE
        return None

    @property
    def waitables(self) -> list[Any]:
        """Objects for `multiprocessing.connection.wait`; one is ready when `receive` would return at once."""
        return self._watched

    def wait_until_dead(self) -> None:
        """Block until the parent has died, after `receive` has returned GONE.

        Other code of a living parent may have closed the pipe by mistake; the parent notices that and kills this
        process. A parent that runs another program (`os.exec`) lives, too, but has closed pipe and sentinel for good.
        """
        end = time.monotonic() + CUT_TIMEOUT_S
        while os.name == "posix" and os.getppid() == self._parent_id:
            if time.monotonic() > end and all(map(_is_at_end, self._watched)):
                return
            time.sleep(POLL_INTERVAL_S)

    def is_dead(self) -> bool:
        """Whether it has died. From any thread; for certain only where the system gives orphans another parent."""
        return os.name == "posix" and os.getppid() != self._parent_id

    def has_message(self) -> bool:
        """Whether `receive` would return a message or GONE at once."""
        return bool(wait(self._watched, 0))

    def tell(self, message: Any) -> bool:
        """Send `message`, from any thread; False if the parent has died. Blocks while the parent does not read."""
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            return False
        return True

    def is_writable(self) -> bool:
        """Whether sending a short message would not block."""
        try:
            return bool(select.select([], [self._connection.fileno()], [], 0)[1])
        except (OSError, ValueError):  # closed; or not a socket, as on Windows
            return False


def _is_at_end(watched: Any) -> bool:
    """Whether it is closed at the other end."""
    if not wait([watched], 0):
        return False
    try:
        return isinstance(watched, int) or not watched.recv_bytes()
    except (EOFError, OSError):
        return True
