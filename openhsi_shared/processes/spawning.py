"""Spawning of processes from any program: a script without a guard, standard input, a notebook, a thread.

A spawned child imports the program's `__main__` again, which for a script without `if __name__ == "__main__"` opens the
camera a second time. This library does not need `__main__`: it is hidden while a child starts. Objects defined there
are sent to a child by cloudpickle (`pack`).
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from openhsi_shared.errors import OpenHSIError, WriterFailed
from openhsi_shared.processes.interpreter import require_processes
from openhsi_shared.processes.time_slices import DEFAULT_US, set_slice
from openhsi_shared.standard_streams import without_broken_streams

__all__ = [
    "SPAWN",
    "become_service",
    "interrupt_deferred",
    "niceness_of_session",
    "pack",
    "set_niceness_of_session",
    "spawn",
    "unpack",
]

SPAWN = multiprocessing.get_context("spawn")
"""The only start method, whatever the user's default: a forked child would inherit held locks and open HDF5 files."""

_main_lock = threading.Lock()
AUTOGROUP = Path("/proc/self/autogroup")
MAX_ATTEMPTS = 5


# ---- in the parent -------------------------------------------------------------------


def spawn(process: BaseProcess) -> None:
    """Start `process`, protected from Ctrl-C until it ignores it by itself. Blocks for about a millisecond.

    A KeyboardInterrupt during the start is raised after it, and the child is killed. Raises WriterFailed where children
    are not allowed: in a daemonic process, such as a worker of `multiprocessing.Pool`.
    """
    require_processes()
    if multiprocessing.current_process().daemon:
        raise WriterFailed(
            f"{process.name} cannot be started: this process is daemonic (of a Pool?) and must have no children; "
            "make the camera in the main process, or in a Process with daemon=False"
        )
    try:
        with (
            without_broken_streams(),
            _main_hidden(),
            _existing_directory(),
            interrupt_deferred(),
            _interrupt_blocked(),
        ):
            process.start()
    except KeyboardInterrupt:
        if process.pid is not None:
            process.kill()
            process.join()
        raise


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Make `__main__` look like that of an interactive session, which a child does not try to import."""
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
def _existing_directory() -> Iterator[None]:
    """Change to / if the working directory has vanished, with an unplugged disk: a child could not start in it."""
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
    """Defer Ctrl-C until the child has received all its arguments: before that, it would die of an interrupt.

    The mask below is not enough: any other thread of this process, such as numpy's, can receive the signal, and Python
    always interrupts the main thread.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    received: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if received:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _interrupt_blocked() -> Iterator[None]:
    """Block SIGINT in this thread: the child inherits the mask and starts with it (see `become_service`)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # the first child starts it, and that would unblock SIGINT again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def pack(thing: Any) -> bytes:
    """Pickle a class or function, also one that was defined in a notebook or script.

    OpenHSIError if it cannot be pickled.
    """
    import cloudpickle

    try:
        payload: bytes = cloudpickle.dumps(thing)
    except Exception as error:
        raise OpenHSIError(f"{thing!r} cannot be sent to another process: {error}") from error
    return payload


# ---- in the child --------------------------------------------------------------------


def become_service(niceness: int = 0, in_background: bool = False, slice_us: int | None = None) -> None:
    """Outlive the terminal and the notebook: own session, SIGINT and SIGHUP ignored. Called first in a child.

    `niceness` is absolute: what the process that started it has is not inherited. `in_background`: it is always lower
    by that much than the process that started it, which may have the camera, and when it wakes up, it preempts no other
    process (SCHED_BATCH, Linux), unless it has a time slice of its own, `slice_us`: then those whose slice is longer.
    What the system refuses is left as it is.

    Where Linux compares the niceness of sessions, and that of processes only within one (sched(7), "The autogroup
    feature"), that of the new session is set in the same way.
    """
    if hasattr(os, "setsid"):
        inherited = os.getpriority(os.PRIO_PROCESS, 0), niceness_of_session()
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if niceness:
            for before, set_niceness in zip(inherited, (_set_niceness, set_niceness_of_session), strict=True):
                with suppress(OSError):
                    set_niceness(min(19, max(niceness, before + niceness) if in_background else niceness))
        set_slice(DEFAULT_US)  # not that of the thread which started it
        is_prompt = slice_us is not None and set_slice(slice_us)
        if in_background and not is_prompt and hasattr(os, "SCHED_BATCH"):
            with suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _set_niceness(niceness: int) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, niceness)


def niceness_of_session() -> int:
    """Niceness of this session, 0 where the kernel has none: the last word of "/autogroup-12 nice 0"."""
    try:
        return int(AUTOGROUP.read_text().split()[-1])
    except (OSError, IndexError):
        return 0


def set_niceness_of_session(niceness: int) -> None:
    """Set it. The kernel accepts one change in 0.1 s from all sessions together: then OSError after some attempts."""
    for attempt in range(MAX_ATTEMPTS):
        try:
            AUTOGROUP.write_text(f"{niceness}\n")
        except BlockingIOError:
            if attempt + 1 == MAX_ATTEMPTS:
                raise
            time.sleep(0.1)
        else:
            return


def unpack(payload: bytes) -> Any:
    """Return what was packed."""
    import cloudpickle

    return cloudpickle.loads(payload)
