"""The log of one job: what its threads and processes log, and nothing of other jobs in the same program."""

import logging
import platform
import sys
import threading
import time
from collections.abc import Collection
from importlib.metadata import version
from types import TracebackType
from typing import Self

__all__ = ["JobLog", "versions"]

MAX_CHARS = 1 << 20
"""Of the log of a cube: it becomes an attribute of the result."""

_package_logger = logging.getLogger("openhsi_shared")
_attaching = threading.Lock()


class JobLog(logging.Handler):
    """Collects records of some threads while it is used as a context manager.

    What a worker process logs is logged by the thread that waits for it, so it is here, too. Handlers of the user get
    every record as well; until the end, the package's logger passes records from `level` on.
    """

    def __init__(self, thread_ids: Collection[int], level: int) -> None:
        """`thread_ids`: read at each record; the owner of the job changes it."""
        super().__init__(level)
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)
        self._thread_ids = thread_ids
        self._lines: list[str] = []
        self._n_chars = 0
        self._level_before = logging.NOTSET

    @property
    def text(self) -> str:
        """One record after the other, since the last `restart`; times are UTC."""
        return "\n".join(self._lines)

    def restart(self, text: str) -> None:
        """Forget what was logged so far, of another cube; what was logged before of the next one is `text`."""
        self._lines, self._n_chars = [text] if text else [], len(text)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record of this job."""
        if record.thread not in self._thread_ids or self._n_chars > MAX_CHARS:
            return
        text = self.format(record)
        self._n_chars += len(text)
        self._lines.append(text if self._n_chars <= MAX_CHARS else "further records are not kept")

    def __enter__(self) -> Self:
        with _attaching:
            others = _attached()
            self._level_before = others[0]._level_before if others else _package_logger.level  # noqa: SLF001 - of its own class
            _package_logger.addHandler(self)
            _set_level(self._level_before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _attaching:
            _package_logger.removeHandler(self)
            _set_level(self._level_before)


def _attached() -> list[JobLog]:
    return [handler for handler in _package_logger.handlers if isinstance(handler, JobLog)]


def _set_level(before: int) -> None:
    """The lowest of the levels of all jobs and of the one that was set before the first of them."""
    _package_logger.setLevel(before)
    lowest = min((handler.level for handler in _attached()), default=logging.CRITICAL)
    if lowest < _package_logger.getEffectiveLevel():
        _package_logger.setLevel(lowest)


def versions() -> str:
    """What computed a result: the versions that matter, and the platform."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("openhsi_shared", "numpy", "numba", "h5py"))
    return f"{packages}, Python {sys.version.split()[0]}, {platform.platform(terse=True)}"
