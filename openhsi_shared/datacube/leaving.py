"""When the interpreter ends with saves pending, they are finished first, and a failure shows in the exit status.

Registered after `multiprocessing`'s own hook, so it runs before that one, which would wait for the writer without
telling it that nothing more comes. An exception in `atexit` leaves status 0, so a failure that nobody asked for ends in
`os._exit(1)` after everything else has been done.
"""

import atexit
import logging
import multiprocessing.util  # noqa: F401 - its hook must be registered before ours
import os
import sys
import threading
from typing import Protocol

from openhsi_shared.errors import OpenHSIError

__all__ = ["finish_at_exit", "forget"]

logger = logging.getLogger(__name__)


class Leaving(Protocol):
    """Something that must be finished first."""

    def leave(self, crashed: bool) -> list[OpenHSIError]:
        """Finish; return failures that nobody asked for."""


_open: set[Leaving] = set()
_lock = threading.Lock()


def finish_at_exit(engine: Leaving) -> None:
    """Remember an engine whose writer runs."""
    with _lock:
        _open.add(engine)


def forget(engine: Leaving) -> None:
    """It was closed in good order."""
    with _lock:
        _open.discard(engine)


def _finish_all() -> None:
    with _lock:
        engines, crashed = list(_open), hasattr(sys, "last_value")
        _open.clear()
    failures = [failure for engine in engines for failure in engine.leave(crashed)]
    for failure in failures:
        logger.error("a cube was not saved, and nobody asked for it", exc_info=failure)
    if failures:
        atexit._run_exitfuncs()  # what others registered; ours has nothing left to do
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(1)


atexit.register(_finish_all)
