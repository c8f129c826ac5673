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
from multiprocessing.process import BaseProcess
from typing import Any

from openhsi_shared.errors import OpenHSIError, WriterFailed

__all__ = ["SPAWN", "become_service", "pack", "spawn", "unpack"]

SPAWN = multiprocessing.get_context("spawn")
"""The only context, whatever the user's default is: a forked child would inherit held locks and open HDF5 files."""

_main_lock = threading.Lock()


# ---- in the parent -------------------------------------------------------------------


def spawn(process: BaseProcess) -> None:
    """Start `process`, so that Ctrl-C cannot hit it before it can protect itself. Blocks for about a millisecond.

    Raises WriterFailed where children are not allowed: in a daemonic process, such as a worker of
    `multiprocessing.Pool`.
    """
    if multiprocessing.current_process().daemon:
        raise WriterFailed(
            f"{process.name} cannot be started: this process is daemonic (of a Pool?) and must have no children; "
            "make the camera in the main process, or in a Process with daemon=False"
        )
    with _main_hidden(), _interrupt_blocked():
        process.start()


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
def _interrupt_blocked() -> Iterator[None]:
    """A child inherits the mask of the thread that starts it, and so is born deaf to Ctrl-C (see `become_service`)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
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


def become_service(niceness: int = 0) -> None:
    """Outlive the terminal and the notebook: own session, deaf to Ctrl-C and hang-up. Called first thing in a child."""
    if hasattr(os, "setsid"):
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if niceness:
            with suppress(OSError):
                os.nice(niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def unpack(payload: bytes) -> Any:
    """Return what was packed."""
    import cloudpickle

    return cloudpickle.loads(payload)
