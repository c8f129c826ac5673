"""Notice that the other side is gone, however it went.

A dead parent shows in three ways: end of file on the pipe, its sentinel, and a changed parent id. The first two are
held open by any child that the user's program forked (os.fork, the default of `multiprocessing` on Linux), so all three
are looked at.
"""

import multiprocessing
import os
import select
import threading
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["GONE", "Parent"]

GONE = object()
"""What `Parent.receive` returns when there will be no more messages."""


class Parent:
    """The parent of a spawned child, as the child sees it."""

    def __init__(self, connection: Connection, parent_id: int) -> None:
        self._connection = connection
        self._parent_id = parent_id
        self._telling = threading.Lock()
        process = multiprocessing.parent_process()
        self._watched: list[Any] = [connection] if process is None else [connection, process.sentinel]

    def receive(self, patience_s: float = 0.25) -> Any:
        """Return the next message, None if there was none for `patience_s`, or GONE when the parent is."""
        ready = wait(self._watched, patience_s)
        if self._connection in ready:
            try:
                return self._connection.recv()
            except (EOFError, OSError):
                return GONE
        if ready or (hasattr(os, "getppid") and os.getppid() != self._parent_id):
            return GONE
        return None

    def has_message(self) -> bool:
        """Whether something waits to be received, be it the end."""
        return bool(wait(self._watched, 0))

    def tell(self, message: Any) -> bool:
        """Send `message`, from any thread; False if the parent is gone. Blocks while the parent does not read."""
        try:
            with self._telling:
                self._connection.send(message)
        except OSError:
            return False
        return True

    def can_be_told(self) -> bool:
        """Whether a short message would not block."""
        try:
            return bool(select.select([], [self._connection.fileno()], [], 0)[1])
        except (OSError, ValueError):  # closed; or no socket, as on Windows
            return False
