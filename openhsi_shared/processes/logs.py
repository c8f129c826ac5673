"""Logs: forwarding from children to their parent, and loggers that never raise."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from openhsi_shared.processes.liveness import Parent

__all__ = ["AnyLogger", "Log", "forward_logs", "safe_logger"]

MAX_CHARS = 4096

if TYPE_CHECKING:
    AnyLogger = logging.Logger | logging.LoggerAdapter[logging.Logger]
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    AnyLogger = logging.Logger | logging.LoggerAdapter
    _Adapter = logging.LoggerAdapter


class Log(NamedTuple):
    """From a child: a record to be logged."""

    level: int
    text: str


def safe_logger(name: str) -> "SafeLogger":
    """Return the logger of that name, for code that must continue when a user's logging handler raises."""
    return SafeLogger(logging.getLogger(name))


class SafeLogger(_Adapter):
    """A logger whose handlers may raise: then the record and the exception go to stderr."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return the message unchanged."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log as `logging.Logger` does; suppresses exceptions of handlers."""
        try:
            super().log(level, msg, *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})
        except Exception:  # noqa: BLE001 - not swallowed: written to stderr, unless the program has disabled that
            if logging.raiseExceptions and logging.lastResort is not None:
                facts: Mapping[str, Any] = {"levelno": level, "msg": msg, "args": args, "exc_info": sys.exc_info()}
                logging.lastResort.handle(logging.makeLogRecord(facts))


def forward_logs(parent: Parent) -> None:
    """Forward this process's log records from now on to `parent`, which logs them with the user's handlers.

    Never blocks: while the parent does not read, warnings go to stderr instead.
    """
    package_logger = logging.getLogger("openhsi_shared")
    package_logger.addHandler(_ToParent(parent))
    package_logger.propagate = False


class _ToParent(logging.Handler):
    def __init__(self, parent: Parent) -> None:
        super().__init__()
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        if self._parent.is_writable():
            self._parent.tell(Log(record.levelno, record.getMessage()[:MAX_CHARS]))
        elif logging.lastResort is not None:
            logging.lastResort.handle(record)
