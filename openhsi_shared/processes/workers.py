"""What worker processes have in common: one thread in libraries, an end with their parent, and how they ended."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from openhsi_shared.processes.liveness import Parent
from openhsi_shared.processes.supervision import GuardedThread

__all__ = ["end_with_parent", "how_it_ended", "single_threaded"]

PARENT_INTERVAL_S = 1.0
THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""Variables that limit the threads that libraries start."""
_environment_lock = threading.Lock()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let processes that are started in the block use one thread each in libraries such as BLAS."""
    with _environment_lock:
        before = {name: os.environ.get(name) for name in THREAD_COUNTS}
        os.environ.update(dict.fromkeys(THREAD_COUNTS, "1"))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def how_it_ended(exit_code: int | None) -> str:
    """Say how a child ended, as the end of a sentence: "was killed by SIGSEGV"."""
    if exit_code is None or exit_code >= 0:
        return f"exited with code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was killed by {name}" + (" (of too little memory?)" if name == "SIGKILL" else "")


def end_with_parent(parent: Parent) -> None:
    """End this process when its parent has died, whatever code of users does; starts a thread. In a child."""
    GuardedThread(
        _await_end,
        parent,
        name="parent",
        failure="the parent cannot be watched: this process ends",
        on_failure=lambda _: os._exit(1),
    ).start()


def _await_end(parent: Parent) -> None:
    process = multiprocessing.parent_process()
    while not parent.is_dead() and process is not None and process.is_alive():
        process.join(PARENT_INTERVAL_S)
    os._exit(1)
