"""Logs of children: forwarded to their parent, which logs them with the user's handlers."""

import logging
import traceback
from typing import NamedTuple

from openhsi_shared.processes.liveness import Parent

__all__ = ["Log", "forward_logs", "package_level", "set_package_level", "traceback_text"]

MAX_CHARS = 4096


class Log(NamedTuple):
    """From a child: a record to be logged."""

    level: int
    text: str


def package_level() -> int:
    """The level from which on children log: as this process, and at least warnings, which it may want later."""
    return max(1, min(logging.getLogger("openhsi_shared").getEffectiveLevel(), logging.WARNING))


def set_package_level(level: int) -> None:
    """Log from this level on: only such records are forwarded."""
    logging.getLogger("openhsi_shared").setLevel(level)


def forward_logs(parent: Parent) -> None:
    """Forward this process's log records from now on to `parent`, which logs them with the user's handlers.

    Never blocks: while the parent does not read, and when it has died, warnings go to stderr instead.
    """
    package_logger = logging.getLogger("openhsi_shared")
    package_logger.addHandler(_ToParent(parent))
    package_logger.propagate = False


def traceback_text(error: BaseException) -> str:
    """The traceback of an error; of a long one the end, without its last line feed."""
    return "".join(traceback.format_exception(error)).rstrip("\n")[-MAX_CHARS:]


class _ToParent(logging.Handler):
    def __init__(self, parent: Parent) -> None:
        super().__init__()
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()[:MAX_CHARS]
        if record.levelno >= logging.ERROR and record.exc_info and record.exc_info[1] is not None:
            text = f"{text}\n{traceback_text(record.exc_info[1])}"
        is_told = self._parent.is_writable() and self._parent.tell(Log(record.levelno, text))
        if not is_told and logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)
