"""The state of this computer's clock: whether something (NTP, PTP, a GPS) keeps it, and how wrong it may be.

By `adjtimex` of Linux (man 2 adjtimex); unknown elsewhere, and where a container forbids the call.
"""

import ctypes
import sys
from typing import NamedTuple

__all__ = ["HostClock", "host_clock"]

STA_UNSYNC = 0x0040
TIME_ERROR = 5
UNKNOWN_ERROR_US = 16_000_000
"""The kernel lets the maximal error grow up to this when nothing keeps the clock."""


class HostClock(NamedTuple):
    """State of this computer's clock."""

    is_synchronised: bool | None
    """None: unknown."""
    max_error_s: float | None
    """What the kernel thinks is the most that it may be wrong; None: unknown."""

    @property
    def attributes(self) -> dict[str, str | float]:
        """For a file: `host_clock`, and `host_clock_max_error_s` where it is known."""
        words = {True: "synchronised", False: "not synchronised", None: "unknown"}[self.is_synchronised]
        known = {} if self.max_error_s is None else {"host_clock_max_error_s": self.max_error_s}
        return {"host_clock": words, **known}


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),  # more than the rest of the structure on any machine
    )


def host_clock() -> HostClock:
    """Ask the kernel; takes microseconds, changes nothing, and never raises."""
    if not sys.platform.startswith("linux"):
        return HostClock(None, None)
    timex = _Timex(modes=0)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return HostClock(None, None)
    if state < 0:
        return HostClock(None, None)
    is_synchronised = state != TIME_ERROR and not timex.status & STA_UNSYNC
    error_us = int(timex.maxerror)
    return HostClock(is_synchronised, None if error_us >= UNKNOWN_ERROR_US else error_us / 1e6)
