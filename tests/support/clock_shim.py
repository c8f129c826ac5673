"""A settable wall clock for one program and its children; the clock of the machine is not changed."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

__all__ = ["SteppedClock"]

SOURCE = Path(__file__).with_suffix(".c")


class SteppedClock:
    """A wall clock for programs that are started with its `environment`; `step` sets it."""

    def __init__(self, directory: Path) -> None:
        """Compile the shim into `directory`. RuntimeError where there is no C compiler, or no Linux."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None or sys.platform != "linux":
            raise RuntimeError("the clock shim needs Linux and a C compiler")
        library, self._offset = directory / "clock_shim.so", directory / "clock_offset"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True, capture_output=True)
        self.step(0.0)
        preload = " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD", "")]))
        self.environment = {"LD_PRELOAD": preload, "CLOCK_OFFSET_FILE": str(self._offset)}

    def step(self, seconds: float) -> None:
        """Set the offset of the clock; positive `seconds` = ahead."""
        with os.fdopen(os.open(self._offset, os.O_CREAT | os.O_RDWR), "r+b", buffering=0) as file:
            file.write(struct.pack("<q", int(seconds * 1e9)))
