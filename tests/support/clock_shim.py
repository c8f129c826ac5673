"""A settable wall clock for one program and its children; the clock of the machine is not changed.

A program sets its own clock by `SETTING`, which defines `set_clock(seconds)` and `suspend(seconds)`.
"""

import os
import struct
from pathlib import Path

from tests.support.compiled_c import compiled, has_compiler

__all__ = ["SETTING", "SteppedClock"]

SOURCE = Path(__file__).with_suffix(".c")

SETTING = """
import os, struct, time
OFFSETS = [0.0, 0.0]
def set_clock(seconds, suspended=0.0):
    OFFSETS[:] = seconds, OFFSETS[1] + suspended
    with open(os.environ["CLOCK_OFFSET_FILE"], "r+b", buffering=0) as file:
        file.write(struct.pack("<qq", *(int(1e9 * offset) for offset in OFFSETS)))
def suspend(seconds):
    set_clock(OFFSETS[0] + seconds, seconds)
"""


class SteppedClock:
    """A wall clock for programs that are started with its `environment`; `step` sets it."""

    def __init__(self, directory: Path) -> None:
        """RuntimeError where there is no C compiler, or no Linux. The offset of the clock is in `directory`."""
        if not has_compiler():
            raise RuntimeError("the clock shim needs Linux and a C compiler")
        library, self._offset = compiled(SOURCE), directory / "clock_offset"
        self._write(0.0, 0.0)
        preload = " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD", "")]))
        self.environment = {"LD_PRELOAD": preload, "CLOCK_OFFSET_FILE": str(self._offset)}

    def step(self, seconds: float) -> None:
        """Set the offset of the clock; positive `seconds` = ahead."""
        self._write(seconds, self._suspended)

    def suspend(self, seconds: float) -> None:
        """Let the time pass as in a suspend, in which the monotonic clock stands still."""
        self._write(self._seconds + seconds, self._suspended + seconds)

    def _write(self, seconds: float, suspended: float) -> None:
        self._seconds, self._suspended = seconds, suspended
        with os.fdopen(os.open(self._offset, os.O_CREAT | os.O_RDWR), "r+b", buffering=0) as file:
            file.write(struct.pack("<qq", int(seconds * 1e9), int(suspended * 1e9)))
