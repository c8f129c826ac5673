"""Loggers for code that must go on whatever a user's logging handlers do: they may raise, and they may block.

A handler is code of the user's program: a widget that is gone, a socket to a server that does not read. A thread that
others wait for has its records handled by one more thread, and waits for that only for a short time.
"""

import logging
import sys
import threading
from collections.abc import MutableMapping
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

__all__ = ["AnyLogger", "SafeLogger", "must_not_block", "safe_logger"]

WAIT_S = 1.0
"""How long a thread that must not block waits for the handlers of a record; not at all while they are that late."""
MAX_LATE = 1000
"""Records that wait for handlers; further ones go to stderr."""

if TYPE_CHECKING:
    AnyLogger = logging.Logger | logging.LoggerAdapter[logging.Logger]
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    AnyLogger = logging.Logger | logging.LoggerAdapter
    _Adapter = logging.LoggerAdapter

_this_thread = threading.local()


def must_not_block() -> None:
    """Called in a thread: handlers may not block it any more."""
    _this_thread.must_not_block = True


def safe_logger(name: str) -> "SafeLogger":
    """Return the logger of that name, for code that must continue when a user's logging handler raises or blocks."""
    return SafeLogger(logging.getLogger(name))


class SafeLogger(_Adapter):
    """A logger whose handlers may raise: then the record and the exception go to stderr."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return the message unchanged."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log as `logging.Logger` does; suppresses exceptions of handlers."""
        if not self.logger.isEnabledFor(level):
            return
        record = self._record(level, msg, args, **kwargs)
        if getattr(_this_thread, "must_not_block", False) or _late.blocks_others():
            _late.handle(self.logger, record)
        else:
            _handle(self.logger, record)

    def _record(
        self, level: int, msg: object, args: Any, exc_info: Any = None, stacklevel: int = 1
    ) -> logging.LogRecord:
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        elif exc_info and not isinstance(exc_info, tuple):
            exc_info = sys.exc_info()
        file, line, function, stack = self.logger.findCaller(False, stacklevel + 2)  # without this method and `log`
        try:
            return self.logger.makeRecord(self.name, level, file, line, msg, args, exc_info, function, None, stack)
        except Exception:  # noqa: BLE001 - the program's own factory of records
            return logging.LogRecord(self.name, level, file, line, msg, args, exc_info, function, stack)


def _handle(logger: logging.Logger, record: logging.LogRecord) -> None:
    try:
        logger.handle(record)
    except Exception:  # noqa: BLE001 - not swallowed: written to stderr, unless the program has disabled that
        _to_stderr(record, sys.exc_info())


def _to_stderr(record: logging.LogRecord, exc_info: Any) -> None:
    if logging.raiseExceptions and logging.lastResort is not None:
        facts = {"levelno": record.levelno, "msg": record.msg, "args": record.args, "exc_info": exc_info}
        with suppress(Exception):  # stderr is closed, or broken, too
            logging.lastResort.handle(logging.makeLogRecord(facts))


class _LateRecords:
    """Has records handled by a thread of its own, which is started when needed."""

    def __init__(self) -> None:
        self._records: SimpleQueue[tuple[logging.Logger, logging.LogRecord, threading.Event]] = SimpleQueue()
        self._is_late = self._is_busy = False
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()  # a signal handler may log, too

    def blocks_others(self) -> bool:
        """Whether a handler has a record of this library now, and may have its lock for long: in a widget that waits
        for the main thread, which waits here. The next records are then handled after it.
        """
        return self._is_busy and threading.current_thread() is not self._thread

    def handle(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Let the record be handled; waits for that at most `WAIT_S`, and only if handlers are in time."""
        if self._records.qsize() >= MAX_LATE or not self._has_thread():
            _to_stderr(record, record.exc_info)
            return
        is_handled = threading.Event()
        self._records.put((logger, record, is_handled))
        if not self._is_late and not is_handled.wait(WAIT_S):
            self._is_late = True

    def _has_thread(self) -> bool:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():  # not in a forked child
                self._thread = threading.Thread(target=self._run, name="openhsi_shared log", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # the system has no more threads now
                    self._thread = None
            return self._thread is not None

    def _run(self) -> None:
        while True:
            logger, record, is_handled = self._records.get()
            self._is_busy = True
            try:
                _handle(logger, record)
            except BaseException:  # noqa: BLE001 - not swallowed: a handler that exits must not end this thread
                _to_stderr(record, sys.exc_info())
            self._is_busy = False
            is_handled.set()
            self._is_late = self._is_late and not self._records.empty()
            del record  # its traceback may hold the memory of slots, and the next record may never come


_late = _LateRecords()
