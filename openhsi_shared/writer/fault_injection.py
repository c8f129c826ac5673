"""Kill, stop or fail the writer at a named point: for tests, by the environment.

`OPENHSI_SHARED_FAULT="point:what[:count]"`, where point is one of created, half, written, fsynced, published,
before_answer, and what is `kill`, `stop`, or an errno. With a count, only the first so many writers of a recording do
it; they leave a mark each in the folder `OPENHSI_SHARED_FAULT_MARKS`.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

__all__ = ["fault_injector"]


def fault_injector() -> Callable[[str], None]:
    """Return the function that the writer calls at each point: it does nothing unless the environment asks for it."""
    wanted = os.environ.get("OPENHSI_SHARED_FAULT", "")
    if not wanted:
        return _no_fault
    point, what, *count = wanted.split(":")
    marks = Path(os.environ.get("OPENHSI_SHARED_FAULT_MARKS", "."))

    def at(here: str) -> None:
        if here != point or (count and len(list(marks.glob("fault-*"))) >= int(count[0])):
            return
        (marks / f"fault-{os.getpid()}-{len(list(marks.glob('fault-*')))}").touch()
        if what in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        else:
            raise OSError(int(what), os.strerror(int(what)))

    return at


def _no_fault(_: str) -> None:
    pass
