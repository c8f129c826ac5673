"""Gaps between two frames, as the capturing thread sees them, each with what the thread did meanwhile.

A gap is the time between the ends of two calls of `read_into`. For a part of it the thread ran (its processor time),
for another it waited for a processor (run delay of /proc/thread-self/schedstat), and for the rest it slept, which it
should only until the frame is exposed. What is longest of running more than usual, waiting, and sleeping longer, is the
cause.
"""

import os
import resource
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared import SharedSimulatedCamera
from openhsi_shared.drivers import FrameSource, FrameStamp

__all__ = ["Gaps", "TimedCamera"]

FIELDS = (
    "frame_id",
    "entered_ns",
    "returned_ns",
    "exposed_ns",
    "cpu_ns",
    "delay_ns",
    "minor_faults",
    "major_faults",
    "sleeps",
    "preemptions",
    "blocks_read",
    "memory_us",
    "io_us",
)
MAX_FRAMES = 200_000
PRESSURE_EVERY = 16
"""Frames between two looks at /proc/pressure, and after each gap."""
N_FIRST = 20
"""Frames that are left out: the camera has just been started."""
LATE = 1.5
"""Gaps of more periods than this have a cause."""
MANY_FAULTS = 32
CAUSES = (
    "scheduling",
    "interpreter's lock",
    "wait for a slot",
    "page faults",
    "reclaim",
    "disk",
    "late timer",
    "own work",
)


class TimedCamera(SharedSimulatedCamera):
    """The simulated camera, which notes each call of `read_into` and writes that into the file `gaps` when closed."""

    def __init__(self, n_lines: int = 16, *, gaps: str, **keywords: Any) -> None:
        self._gaps_path, self._timed = gaps, None
        super().__init__(n_lines, **keywords)

    def _frame_source(self) -> FrameSource:
        driver = self.driver
        self._timed = _TimedSource(driver, int(self.settings.model.exposure_ms * 500_000))
        return self._timed

    def _close_source(self) -> None:
        super()._close_source()
        if self._timed is not None:
            np.save(self._gaps_path, self._timed.rows[: self._timed.n])
            self._timed = None


class _TimedSource:
    def __init__(self, driver: Any, half_exposure_ns: int) -> None:
        self._driver, self._half_exposure_ns = driver, half_exposure_ns
        self.frame_id_period, self.frame_shape, self.frame_dtype = None, driver.frame_shape, driver.frame_dtype
        self.rows = np.zeros((MAX_FRAMES, len(FIELDS)), np.int64)
        self.rows[:] = 0  # mapped now
        self.n = 0
        self._schedstat = -1
        self._pressure = [_opened("/proc/pressure/memory"), _opened("/proc/pressure/io")]
        self._last_ns, self._stalled_us = 0, (0, 0)

    def read_into(self, out: NDArray[Any], timeout_s: float) -> FrameStamp:
        entered_ns = time.monotonic_ns()
        stamp: FrameStamp = self._driver.read_into(out, timeout_s)
        now_ns = time.monotonic_ns()
        if self._schedstat < 0:
            self._schedstat = _opened("/proc/thread-self/schedstat")
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        if self.n % PRESSURE_EVERY == 0 or now_ns - self._last_ns > 2_000_000:
            self._stalled_us = (_total_us(self._pressure[0]), _total_us(self._pressure[1]))
        delay_ns = int(os.pread(self._schedstat, 80, 0).split()[1])
        exposed_ns = (stamp.monotonic_ns or now_ns) + self._half_exposure_ns
        if self.n < MAX_FRAMES:
            self.rows[self.n] = (
                stamp.frame_id or 0,
                entered_ns,
                now_ns,
                exposed_ns,
                time.thread_time_ns(),
                delay_ns,
                usage.ru_minflt,
                usage.ru_majflt,
                usage.ru_nvcsw,
                usage.ru_nivcsw,
                usage.ru_inblock,
                *self._stalled_us,
            )
            self.n += 1
        self._last_ns = now_ns
        return stamp


def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY) if Path(path).exists() else -1


def _total_us(descriptor: int) -> int:
    """Time for which some thread of the machine had to wait, of /proc/pressure; 0 where the kernel does not say."""
    if descriptor < 0:
        return 0
    try:
        return int(os.pread(descriptor, 200, 0).split(b"total=", 1)[1].split(None, 1)[0])
    except (OSError, IndexError):
        return 0


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """The gaps of one run, in ms, and what the long ones were due to."""

    n: int
    n_skipped: int
    """Frames that the queue of the camera dropped."""
    median_ms: float
    high_ms: float
    """99.9 % are shorter."""
    longest_ms: float
    causes: dict[str, dict[str, float]]
    """Of gaps longer than `LATE` periods: number, and the longest in ms."""
    worst: list[dict[str, Any]]
    """The five longest, with all that was noted."""

    @classmethod
    def read(cls, path: Path, period_ms: float) -> "Gaps":
        """Read the file of a `TimedCamera`."""
        rows = dict(zip(FIELDS, np.load(path)[N_FIRST:].T, strict=True))
        if len(rows["returned_ns"]) < 2:
            return cls(n=0, n_skipped=0, median_ms=0.0, high_ms=0.0, longest_ms=0.0, causes={}, worst=[])
        step = {name: np.diff(values) for name, values in rows.items()}
        gap = step["returned_ns"] / 1e6
        found = [
            _explained(step, rows, k, float(np.median(step["cpu_ns"]))) for k in np.flatnonzero(gap > LATE * period_ms)
        ]
        counts = Counter(one["cause"] for one in found)
        return cls(
            n=len(gap),
            n_skipped=int((step["frame_id"] - 1).sum()),
            median_ms=float(np.median(gap)),
            high_ms=float(np.percentile(gap, 99.9)),
            longest_ms=float(gap.max()),
            causes={
                cause: {"n": counts[cause], "longest_ms": max(o["gap_ms"] for o in found if o["cause"] == cause)}
                for cause in CAUSES
                if counts[cause]
            },
            worst=sorted(found, key=lambda one: -one["gap_ms"])[:5],
        )

    def __str__(self) -> str:
        causes = ", ".join(f"{c['n']} {name} (to {c['longest_ms']:.1f} ms)" for name, c in self.causes.items())
        figures = f"median {self.median_ms:.2f}, 99.9 % {self.high_ms:.1f}, longest {self.longest_ms:.1f} ms"
        skipped = f"{self.n_skipped} skipped by the camera's queue"
        return f"{skipped}; gap {figures}; longer than {LATE} periods: {causes or 'none'}"


def _explained(step: dict[str, Any], rows: dict[str, Any], k: int, usual_cpu_ns: float) -> dict[str, Any]:
    """The gap between frame k and the next one, and its cause."""
    one = {name: int(step[name][k]) for name in FIELDS[4:]}
    gap_ns = int(step["returned_ns"][k])
    before_ns = int(rows["entered_ns"][k + 1] - rows["returned_ns"][k])
    slept_ns = max(0, gap_ns - one["cpu_ns"] - one["delay_ns"])
    asked_ns = max(0, int(rows["exposed_ns"][k + 1] - rows["entered_ns"][k + 1]))
    parts = {
        "scheduling": one["delay_ns"],
        "own work": max(0, one["cpu_ns"] - int(usual_cpu_ns)),
        "sleep": max(0, slept_ns - asked_ns),
    }
    cause = max(parts, key=lambda name: parts[name])
    if cause == "own work" and one["minor_faults"] > MANY_FAULTS:
        cause = "page faults"
    elif cause == "sleep":
        if one["major_faults"] or one["blocks_read"]:
            cause = "disk"
        elif one["memory_us"] * 1000 > parts["sleep"] // 2:
            cause = "reclaim"
        elif before_ns > gap_ns // 2:
            cause = "wait for a slot"
        else:  # a thread that waits for the lock sleeps once more than for its frame
            cause = "interpreter's lock" if one["sleeps"] > 1 else "late timer"
    return {
        "cause": cause,
        "gap_ms": gap_ns / 1e6,
        "frame": k + N_FIRST + 1,
        **{f"{name.replace(' ', '_')}_ms": value / 1e6 for name, value in parts.items()},
        "before_read_ms": before_ns / 1e6,
        **one,
    }
