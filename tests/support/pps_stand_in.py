"""A stand-in for a device of pulses, /dev/pps0, for programs that are started with its `environment`."""

import os
import threading
from pathlib import Path

from tests.support.compiled_c import compiled, has_compiler

__all__ = ["StandInPulses"]

SOURCE = Path(__file__).with_suffix(".c")


class StandInPulses:
    """A device at `path`, whose edges happen at times of the monotonic clock that are given before."""

    def __init__(self, directory: Path) -> None:
        """RuntimeError where there is no C compiler, or no Linux."""
        if not has_compiler():
            raise RuntimeError("the stand-in for /dev/pps0 needs Linux and a C compiler")
        self.path, self._events, self._gone = (directory / name for name in ("pps0", "pulses", "gone"))
        self.path.touch()
        self._events.touch()
        self._lock = threading.Lock()
        preload = " ".join(filter(None, [str(compiled(SOURCE)), os.environ.get("LD_PRELOAD", "")]))
        self.environment = {
            "LD_PRELOAD": preload,
            "PPS_DEVICE": str(self.path),
            "PPS_PULSES": str(self._events),
            "PPS_GONE": str(self._gone),
        }

    def send(self, monotonic_ns: int, edge: str = "assert") -> None:
        """Let an edge happen at this time."""
        with self._lock, self._events.open("a") as file:
            file.write(f"{monotonic_ns} {edge}\n")

    def unplug(self) -> None:
        """Let the device be gone."""
        self._gone.touch()
