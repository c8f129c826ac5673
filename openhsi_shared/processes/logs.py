"""What a child logs is heard where the user looks: in the process that started it."""

import logging
import select
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

__all__ = ["Log", "forward_logs"]

LONGEST = 4096


class Log(NamedTuple):
    """From a child: something to be logged."""

    level: int
    text: str


def forward_logs(connection: Connection, tell: Callable[[Any], Any]) -> None:
    """Hand what this process logs from now on to `tell`, which sends it through `connection`.

    Never blocks: when the other side does not read, lines must not wait for their warnings, which go to stderr instead.
    """
    ours = logging.getLogger("openhsi_shared")
    ours.addHandler(_ToParent(connection, tell))
    ours.propagate = False


class _ToParent(logging.Handler):
    def __init__(self, connection: Connection, tell: Callable[[Any], Any]) -> None:
        super().__init__()
        self._connection, self._tell = connection, tell

    def emit(self, record: logging.LogRecord) -> None:
        if self._can_hear():
            self._tell(Log(record.levelno, record.getMessage()[:LONGEST]))
        elif logging.lastResort is not None:
            logging.lastResort.handle(record)

    def _can_hear(self) -> bool:
        try:
            return bool(select.select([], [self._connection.fileno()], [], 0)[1])
        except (OSError, ValueError):  # closed; or no socket, as on Windows
            return False
