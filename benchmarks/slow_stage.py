"""A stage of pure Python, in a module of its own: worker processes import only this."""

import time
from typing import Any

__all__ = ["SLOW_S", "slow"]

SLOW_S = 0.002
"""What a line costs."""


def slow(line: Any) -> Any:
    """Return the line (x, wavelength) after `SLOW_S`, in which this process has held the interpreter's lock."""
    until = time.perf_counter() + SLOW_S
    while time.perf_counter() < until:
        pass
    return line
