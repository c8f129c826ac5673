"""Start processes by spawn, from any program: a script without a guard, standard input, a notebook, a thread.

A spawned child imports the program's `__main__` again, which for a script without `if __name__ == "__main__"` opens the
camera a second time. Nothing of ours needs `__main__`: it is hidden while a child starts. What was defined there and
must travel goes by cloudpickle (`pack`).
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from openhsi_shared.errors import OpenHSIError, WriterFailed

__all__ = ["SPAWN", "become_service", "interrupt_deferred", "pack", "spawn", "unpack"]

SPAWN = multiprocessing.get_context("spawn")
"""The only context, whatever the user's default is: a forked child would inherit held locks and open HDF5 files."""

_main_lock = threading.Lock()


# ---- in the parent -------------------------------------------------------------------


def spawn(process: BaseProcess) -> None:
    """Start `process`, so that Ctrl-C cannot hit it before it can protect itself. Blocks for about a millisecond.

    A KeyboardInterrupt that comes meanwhile is raised when the child is whole, and the child is ended again. Raises
    WriterFailed where children are not allowed: in a daemonic process, such as a worker of `multiprocessing.Pool`.
    """
    if multiprocessing.current_process().daemon:
        raise WriterFailed(
            f"{process.name} cannot be started: this process is daemonic (of a Pool?) and must have no children; "
            "make the camera in the main process, or in a Process with daemon=False"
        )
    try:
        with _main_hidden(), _where_something_is(), interrupt_deferred(), _interrupt_blocked():
            process.start()
    except KeyboardInterrupt:
        if process.pid is not None:
            process.kill()
            process.join()
        raise


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Let `__main__` look like that of an interactive session, which a child does not try to import."""
    with _main_lock:
        main = sys.modules["__main__"].__dict__
        hidden: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
        main.pop("__file__", None)
        main["__spec__"] = None
        try:
            yield
        finally:
            main.update(hidden)


@contextmanager
def _where_something_is() -> Iterator[None]:
    """A child begins in our working directory, and cannot where that has vanished: with a disk that was pulled out."""
    try:
        Path.cwd()
    except OSError:
        vanished = os.open(".", os.O_RDONLY)
        try:
            os.chdir("/")
            yield
            os.fchdir(vanished)
        finally:
            os.close(vanished)
    else:
        yield


@contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Ctrl-C waits until the child has all that it is given: half started, it would die of it.

    The mask below is not enough: any other thread of ours, also one of numpy's, can take the signal, and it is always
    the main thread that Python interrupts.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    came: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _interrupt_blocked() -> Iterator[None]:
    """A child inherits the mask of the thread that starts it, and so is born deaf to Ctrl-C (see `become_service`)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # the first child brings it up, and with that Ctrl-C would be let in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def pack(thing: Any) -> bytes:
    """Pickle a class or function, also one that was typed into a notebook or script.

    OpenHSIError if it cannot travel.
    """
    import cloudpickle

    try:
        payload: bytes = cloudpickle.dumps(thing)
    except Exception as error:
        raise OpenHSIError(f"{thing!r} cannot travel to another process: {error}") from error
    return payload


# ---- in the child --------------------------------------------------------------------


def become_service(niceness: int = 0, in_background: bool = False) -> None:
    """Outlive the terminal and the notebook: own session, deaf to Ctrl-C and hang-up. Called first thing in a child.

    `in_background`: when it is woken up, it does not take the processor from the one that woke it (Linux).
    """
    if hasattr(os, "setsid"):
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if niceness:
            with suppress(OSError):
                os.nice(niceness)
        if in_background and hasattr(os, "SCHED_BATCH"):
            with suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def unpack(payload: bytes) -> Any:
    """Return what was packed."""
    import cloudpickle

    return cloudpickle.loads(payload)
