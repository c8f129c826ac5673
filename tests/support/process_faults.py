"""What is done to processes in the tests of faults: found, killed, frozen, stopped at a point of a save."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from openhsi_shared import SharedSimulatedCamera
from tests.support.commit_log import WitnessedCamera
from tests.support.flow import COUNTING
from tests.support.helpers import wait_for


def camera(**keywords: Any) -> SharedSimulatedCamera:
    """A camera whose frames prove themselves."""
    return SharedSimulatedCamera(**{**COUNTING, "n_lines": 8, **keywords})


def witnessed(witness: Path, **keywords: Any) -> WitnessedCamera:
    """The same, which leaves a file that says what it has committed."""
    return WitnessedCamera(**{**COUNTING, "n_lines": 8, "witness": witness, **keywords})


def writers_of(process_id: int | None = None) -> list[psutil.Process]:
    """The writers of a process, ours by default, oldest first."""
    found = []
    for child in psutil.Process(process_id).children():
        try:
            if "spawn_main" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append((child.create_time(), child.pid, child))
        except psutil.Error:  # it has just died
            continue
    return [child for _, _, child in sorted(found)]


def newest_writer(process_id: int | None = None) -> psutil.Process:
    """Wait until there is a writer; the one that was started last."""
    wait_for(lambda: writers_of(process_id))
    return writers_of(process_id)[-1]


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Stop a process; let it go on afterwards, in any case."""
    process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


class Faults:
    """Faults of the writers that are started from now on."""

    def __init__(self, patch: pytest.MonkeyPatch, marks: Path) -> None:
        self._patch, self.marks = patch, marks
        marks.mkdir(exist_ok=True)

    def inject(self, words: str) -> None:
        """See `openhsi_shared.writer.fault_injection`."""
        self._patch.setenv("OPENHSI_SHARED_FAULT", words)
        self._patch.setenv("OPENHSI_SHARED_FAULT_MARKS", str(self.marks))

    def stopped_writer(self) -> psutil.Process:
        """Wait until a writer has stopped at its point."""
        wait_for(lambda: list(self.marks.glob("fault-*")))
        mark = min(self.marks.glob("fault-*"))
        process = psutil.Process(int(mark.name.split("-")[1]))
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
        return process


@contextmanager
def interrupted_when(ready: Callable[[], object]) -> Iterator[None]:
    """Send Ctrl-C to ourselves, once, as soon as `ready()` is true."""
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


# ---- programs to be killed; the file "witness" says what they have committed ----

WITNESSED = """
import os, signal, sys
from tests.support.commit_log import WITNESS, WitnessedCamera
def camera(**keywords):
    return WitnessedCamera(**{**WITNESS, "resolution": (16, 32), "n_lines": 25, "n_buffers": 4,
                              "witness": "witness", **keywords})
"""
COLLECTING = (
    WITNESSED
    + """
cam = camera(KEYWORDS)
cam.will_save_to("out")
for n in range(100_000):
    cam.collect()
    cam.save("out")
    print(n, flush=True)
"""
)
RECORDING = (
    WITNESSED
    + """
from openhsi_shared import record
run = record(WitnessedCamera, "out", **WITNESS, resolution=(16, 32), n_lines=25, n_buffers=6, rate=1000,
             queue=9999, when_full="block", witness="witness", progress=False)
print(run.process_id, flush=True)
run.wait()
"""
)
