"""Fault injection for tests: kill, stop or fail the writer at a named point, set by the environment.

`OPENHSI_SHARED_FAULT="point:what[:count]"`, where point is one of created, half, written, fsynced, published,
before_answer, and what is `kill`, `stop`, or an errno. With a count, only the first `count` faults of a recording are
injected; each leaves a marker file in the folder `OPENHSI_SHARED_FAULT_MARKS`.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

__all__ = ["fault_injector"]


def fault_injector() -> Callable[[str], None]:
    """Return the function that the writer calls at each point: a no-op unless the environment sets a fault."""
    fault = os.environ.get("OPENHSI_SHARED_FAULT", "")
    if not fault:
        return _no_fault
    point, what, *count = fault.split(":")
    marks = Path(os.environ.get("OPENHSI_SHARED_FAULT_MARKS", "."))

    def inject(current_point: str) -> None:
        if current_point != point or (count and len(list(marks.glob("fault-*"))) >= int(count[0])):
            return
        (marks / f"fault-{os.getpid()}-{len(list(marks.glob('fault-*')))}").touch()
        if what in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        else:
            raise OSError(int(what), os.strerror(int(what)))

    return inject


def _no_fault(_: str) -> None:
    pass
