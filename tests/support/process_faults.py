"""Faults of processes for tests: find, stop and interrupt processes, and stop writers at a stage of a save."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from openhsi_shared import SharedSimulatedCamera
from tests.support.commit_log import CommitLogCamera
from tests.support.flow import COUNTING
from tests.support.helpers import wait_for


def camera(**keywords: Any) -> SharedSimulatedCamera:
    """A camera whose frames can be verified."""
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 8, **keywords})


def commit_log_camera(commit_log: Path, **keywords: Any) -> CommitLogCamera:
    """The same, which logs committed lines in a file."""
    return CommitLogCamera(**{**COUNTING, "n_lines": 8, "commit_log": commit_log, **keywords})


def writers_of(process_id: int | None = None) -> list[psutil.Process]:
    """The writers of a process, by default this one, oldest first."""
    found = []
    for child in psutil.Process(process_id).children():
        try:
            if "spawn_main" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append((child.create_time(), child.pid, child))
        except psutil.Error:  # it has just died
            continue
    return [child for _, _, child in sorted(found)]


def newest_writer(process_id: int | None = None) -> psutil.Process:
    """Wait until there is a writer; return the newest."""
    wait_for(lambda: writers_of(process_id))
    return writers_of(process_id)[-1]


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Stop a process for the length of the block."""
    process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


class Faults:
    """Faults of writers that are started afterwards."""

    def __init__(self, patch: pytest.MonkeyPatch, marks: Path) -> None:
        self._patch, self.marks = patch, marks
        marks.mkdir(exist_ok=True)

    def inject(self, fault: str) -> None:
        """See `openhsi_shared.writer.fault_injection`."""
        self._patch.setenv("OPENHSI_SHARED_FAULT", fault)
        self._patch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(self.marks))

    def stopped_writer(self) -> psutil.Process:
        """Wait until a writer has stopped at its stage."""
        wait_for(lambda: list(self.marks.glob("fault-*")))
        mark = min(self.marks.glob("fault-*"))
        process = psutil.Process(int(mark.name.split("-")[1]))
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
        return process


@contextmanager
def interrupted_when(ready: Callable[[], object]) -> Iterator[None]:
    """Send Ctrl-C to this process, once, when `ready()` is true."""
    import threading

    over = threading.Event()

    def interrupt() -> None:
        wait_for(lambda: over.is_set() or ready())
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# ---- programs to be killed; the file "commit_log" contains what they have committed ----

COMMIT_LOG_CAMERA = """
import os, signal, sys
from tests.support.commit_log import COUNTING_KEYWORDS, CommitLogCamera
def camera(**keywords):
    return CommitLogCamera(**{**COUNTING_KEYWORDS, "resolution": (16, 32), "n_lines": 25, "n_buffers": 4,
                              "commit_log": "commit_log", **keywords})
"""
COLLECTING = (
    COMMIT_LOG_CAMERA
    + """
cam = camera(OPTIONS)
cam.will_save_to("out")
for n in range(100_000):
    cam.collect()
    cam.save("out")
    print(n, flush=True)
"""
)
RECORDING = (
    COMMIT_LOG_CAMERA
    + """
from openhsi_shared import record
run = record(CommitLogCamera, "out", **COUNTING_KEYWORDS, resolution=(16, 32), n_lines=25, n_buffers=6, rate=1000,
             queue=9999, when_full="block", commit_log="commit_log", progress=False)
print(run.process_id, flush=True)
run.wait()
"""
)
