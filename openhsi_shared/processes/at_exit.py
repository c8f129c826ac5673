"""Interpreter shutdown: close cameras, finish pending saves, and report unhandled failures in the exit status.

The hook is registered after `multiprocessing`'s own, so it runs before that one, which would wait for the writer
without sending it Stop; it is registered again after packages were imported, so that it runs before a vendor's hooks. A
child of `multiprocessing` exits without `atexit`, but runs the finalizers of that package, so the hook is also one of
them. An exception in either kind of hook leaves status 0, so an unhandled failure ends in `os._exit(1)`, and Ctrl-C or
`sys.exit` in their usual status, after all other hooks have run.
"""

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import util
from typing import NoReturn, Protocol

from openhsi_shared.errors import OpenHSIError
from openhsi_shared.loggers import safe_logger
from openhsi_shared.standard_streams import flushes

__all__ = ["close_at_exit", "finish_at_exit", "forget"]

logger = safe_logger(__name__)


class _Unfinished(Protocol):
    """What has saves pending: an engine, or a recording."""

    def shutdown(self, crashed: bool) -> Sequence[BaseException]:
        """Finish them, also after a crash, and return the failures that were not handled."""


_open: dict[_Unfinished, int] = {}
"""With the id of the owning process: a forked child inherits them, and must not use them."""
_cameras: "list[tuple[weakref.WeakMethod[Callable[[], object]], int]]" = []
"""With the id of the owning process."""
_hooked: set[int] = set()
"""Ids of processes in which the finalizer is registered."""
_hooked_with: set[int] = set()
"""Numbers of imported modules at each registration."""
_lock = threading.RLock()  # the garbage collector may drop a camera while we hold it


def finish_at_exit(unfinished: _Unfinished) -> None:
    """Call `shutdown` when this process ends, unless `forget` is called before."""
    with _lock:
        _open[unfinished] = os.getpid()
    _hook()


def close_at_exit(close: Callable[[], object]) -> None:
    """Call `close`, a method of a camera, when this process ends, if the camera is still referenced then."""
    _cameras[:] = [(held, owner) for held, owner in _cameras if held() not in (None, close)]
    _cameras.append((weakref.WeakMethod(close), os.getpid()))
    _hook()


def _hook() -> None:
    with _lock:
        if len(sys.modules) not in _hooked_with:
            _hooked_with.add(len(sys.modules))
            atexit.register(_finish_all)  # the last one registered is called first; the hook is idempotent
        if os.getpid() not in _hooked and multiprocessing.parent_process() is not None:
            _hooked.add(os.getpid())
            util.Finalize(None, _finish_all, exitpriority=100)


def forget(unfinished: _Unfinished) -> None:
    """It has finished: do not call `shutdown`."""
    with _lock:
        _open.pop(unfinished, None)


def _finish_all() -> None:
    with _lock:
        own = [unfinished for unfinished, owner in list(_open.items()) if owner == os.getpid()]
        _open.clear()
    failures: list[BaseException] = []
    ended_by: BaseException | None = None
    closes = [held() for held, owner in _cameras if owner == os.getpid()]
    steps: list[Callable[[], Sequence[BaseException]]] = [partial(_close, close) for close in closes if close]
    steps += [partial(unfinished.shutdown, _has_crashed()) for unfinished in own]
    for step in steps:
        try:
            failures += step()
        except Exception as error:  # noqa: BLE001 - logged below; the other steps must run
            failures.append(error)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C, or `sys.exit` of a handler: takes effect below
            ended_by = error
    for failure in failures:
        is_save_failure = isinstance(failure, OpenHSIError)
        what = "save failure at exit: a cube was not saved" if is_save_failure else "failure at exit"
        logger.error("unhandled %s", what, exc_info=failure)
    if failures or ended_by is not None:
        _end(ended_by)


def _close(close: Callable[[], object]) -> Sequence[BaseException]:
    try:
        close()
    except Exception as error:  # noqa: BLE001 - whatever a camera raises, its cubes must be saved
        logger.warning("error while releasing the camera at exit: %s", error)
    return ()


def _end(ended_by: BaseException | None) -> NoReturn:
    if multiprocessing.parent_process() is None:  # a child inherits the hooks of its parent, and must not call them
        with suppress(KeyboardInterrupt, SystemExit):
            atexit._run_exitfuncs()  # noqa: SLF001 - hooks of other packages; this one has nothing left to do
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        flushes(stream)
    if isinstance(ended_by, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    code = ended_by.code if isinstance(ended_by, SystemExit) else 1
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _has_crashed() -> bool:
    """Whether an exception ends the program; in a child of `multiprocessing` it is still being propagated."""
    error = sys.exc_info()[1]
    return hasattr(sys, "last_value") or (error is not None and not isinstance(error, SystemExit))


atexit.register(_finish_all)
