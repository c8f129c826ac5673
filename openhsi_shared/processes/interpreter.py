"""The interpreter of this program: whether multiprocessing can start it again as a child.

A child is started by the program's own executable. In a frozen program that is the program itself, which must call
`multiprocessing.freeze_support()` first: else each child runs the program from its start, and makes children without
end. In an embedded interpreter it is another program altogether.
"""

import multiprocessing
import os
import sys
import threading
from multiprocessing import spawn
from pathlib import PurePath

from openhsi_shared.errors import WriterFailed
from openhsi_shared.loggers import safe_logger

__all__ = ["require_processes", "what_is_no_python"]

logger = safe_logger(__name__)

TRACKER = "from multiprocessing.resource_tracker import main"
"""Beginning of the code that the tracker of multiprocessing runs; it is started in the same way."""


def require_processes(of_camera: bool = False) -> None:
    """Raise WriterFailed if this process cannot have children; called before one is started, and a camera is made.

    For a camera it also logs a warning if gevent or eventlet has replaced Python's threads.
    """
    if multiprocessing.parent_process() is None and _was_started_as_child():
        raise WriterFailed(
            "this process was started as a child of the program, but runs the program from its start: a frozen "
            "program (PyInstaller, cx_Freeze) must call multiprocessing.freeze_support() before anything else"
        )
    library = threading.get_ident.__module__.partition(".")[0]
    if of_camera and library in ("gevent", "eventlet"):
        logger.warning(
            "%s has replaced Python's threads: the writer is heard only while this program lets other tasks run, and "
            "slots become free later; exclude threads from its monkey patching, or use record()",
            library,
        )
    if not spawn.get_executable():
        raise WriterFailed(f"no process can be started: sys.executable is {sys.executable!r}; {REMEDY}")


REMEDY = "set multiprocessing.set_executable() to the path of a Python with this package"


def _was_started_as_child() -> bool:
    return spawn.is_forking(sys.argv) or (sys.argv[-2:-1] == ["-c"] and sys.argv[-1].startswith(TRACKER))


def what_is_no_python() -> str:
    """A hint for the error of a child that did not start, if its executable is no Python; else empty."""
    executable = os.fsdecode(spawn.get_executable() or "")
    name = PurePath(executable).name.lower()
    if getattr(sys, "frozen", False) or "python" in name or "pypy" in name:
        return ""
    return f"; it was started by {executable!r} (sys.executable), which is no Python: {REMEDY}"
