"""When the interpreter ends with saves pending, they are finished first, and a failure shows in the exit status.

Registered after `multiprocessing`'s own hook, so it runs before that one, which would wait for the writer without
telling it that nothing more comes. A child of `multiprocessing` ends without `atexit`, but asks the finalizers of that
package, so we are one of them, too. An exception in either leaves status 0, so a failure that nobody asked for ends in
`os._exit(1)` after everything else has been done.
"""

import atexit
import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from multiprocessing import util
from typing import Protocol

__all__ = ["finish_at_exit", "forget"]

logger = logging.getLogger(__name__)


class _Unfinished(Protocol):
    """Who has something pending: an engine, or a recording."""

    def leave(self, crashed: bool) -> Sequence[BaseException]: ...


_open: dict[_Unfinished, int] = {}
"""With the process that each belongs to: a forked child inherits them, and must leave them alone."""
_hooked: set[int] = set()
_lock = threading.Lock()


def finish_at_exit(unfinished: _Unfinished) -> None:
    """Remember somebody who has to finish before this process ends."""
    with _lock:
        _open[unfinished] = os.getpid()
        if os.getpid() not in _hooked and multiprocessing.parent_process() is not None:
            _hooked.add(os.getpid())
            util.Finalize(None, _finish_all, exitpriority=100)


def forget(unfinished: _Unfinished) -> None:
    """It was closed in good order."""
    with _lock:
        _open.pop(unfinished, None)


def _finish_all() -> None:
    with _lock:
        mine = [unfinished for unfinished, owner in _open.items() if owner == os.getpid()]
        _open.clear()
    failures = [failure for unfinished in mine for failure in unfinished.leave(_has_crashed())]
    for failure in failures:
        logger.error("a cube was not saved, and nobody asked for it", exc_info=failure)
    if failures:
        if multiprocessing.parent_process() is None:  # a child has the hooks of its parent, and does not call them
            atexit._run_exitfuncs()  # what others registered; ours has nothing left to do
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(1)


def _has_crashed() -> bool:
    """Whether an exception ends the program; in a child of `multiprocessing` it is still on its way up."""
    error = sys.exc_info()[1]
    return hasattr(sys, "last_value") or (error is not None and not isinstance(error, SystemExit))


atexit.register(_finish_all)
