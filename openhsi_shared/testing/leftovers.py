"""What a test of a contract must not leave behind."""

import threading
import time
from collections.abc import Callable

import psutil

__all__ = ["belongings", "require_no_leftovers"]


def require_no_leftovers(one_round: Callable[[], object], patience_s: float) -> None:
    """Fail if rounds leave threads, processes or file descriptors behind; the first one may allocate some once."""
    one_round()
    before = belongings()
    for _ in range(3):
        one_round()
    end = time.monotonic() + patience_s
    while any(now > then for now, then in zip(belongings(), before, strict=True)) and time.monotonic() < end:
        threading.Event().wait(0.01)  # a vendor's threads may end later
    after = belongings()
    assert all(now <= then for now, then in zip(after, before, strict=True)), (
        f"threads of Python, threads, processes, file descriptors: {before} before three rounds, {after} after"
    )


def belongings() -> tuple[int, int, int, int]:
    """Count the resources of this process: threads of Python, threads, children, file descriptors."""
    process = psutil.Process()
    n_open = process.num_fds() if psutil.POSIX else process.num_handles()
    return threading.active_count(), process.num_threads(), len(process.children()), n_open
