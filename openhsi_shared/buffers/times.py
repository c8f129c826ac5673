"""Times of lines: a clock that does not step, what is known of the clock of a cube, and arrays of times.

The time of a line is read from the monotonic clock; its offset from UTC is fixed for a whole cube by an anchor: a
reading of all clocks together. The wall clock may then be set or step: the times of the cube stay even, and the step is
detected.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError

__all__ = ["EARLIEST_NS", "Anchor", "Clock", "ClockStep", "CubeTimes", "DateTimeBuffer", "LineTimes", "read_anchor"]

MIN_STEP_NS = 100_000_000
"""A smaller difference between wall clock and line times is kept: on Linux, NTP slews both clocks by the same amount,
so that each difference is a step; elsewhere clocks drift, and read times in steps of up to 16 ms."""
EARLIEST_NS = -(2**63)
"""Before all times."""


class ClockStep(NamedTuple):
    """How far the wall clock has moved from one anchor to a later one, beside the monotonic clock."""

    total_ns: int
    """Positive = forwards."""
    suspended_ns: int
    """How long the system was suspended, during which the monotonic clock stands still; 0 where that is unknown."""

    @property
    def is_step(self) -> bool:
        """Whether it is more than the inaccuracy of the clocks."""
        return abs(self.total_ns) >= MIN_STEP_NS or self.suspended_ns > 0

    @property
    def is_back(self) -> bool:
        """Whether times repeat."""
        return self.total_ns <= -MIN_STEP_NS

    def __str__(self) -> str:
        set_ns, suspended_ns = self.total_ns - self.suspended_ns, self.suspended_ns
        slept = f"the system was suspended for {suspended_ns / 1e9:.3f} s" if suspended_ns else ""
        was_set = f"the wall clock was set by {set_ns / 1e9:+.3f} s" if abs(set_ns) >= MIN_STEP_NS or not slept else ""
        return " and ".join(part for part in (slept, was_set) if part)


class Anchor(NamedTuple):
    """All clocks, read together."""

    wall_ns: int
    monotonic_ns: int
    suspended_ns: int = 0
    """How long the system was suspended since it was started; 0 where that is unknown."""

    def since(self, earlier: "Anchor") -> ClockStep:
        """Step of the wall clock since an earlier anchor."""
        passed_ns = self.monotonic_ns - earlier.monotonic_ns
        suspended_ns = self.suspended_ns - earlier.suspended_ns  # or the inaccuracy of the readings
        total_ns = self.wall_ns - earlier.wall_ns - passed_ns
        return ClockStep(total_ns, suspended_ns if suspended_ns >= MIN_STEP_NS else 0)


class CubeTimes(NamedTuple):
    """What is known of the clock of a cube; stored beside its lines."""

    anchor: Anchor
    """Relates the monotonic clock to the times of all lines of this cube."""
    step: ClockStep
    """From the anchor of the previous cube of the camera to this one; zeros if it is the same anchor."""
    earlier_until_ns: int
    """Time of the latest line of all earlier cubes of the camera, or `EARLIEST_NS`."""


def read_anchor(tries: int = 5) -> Anchor:
    """Read all clocks together: of several tries the one that took the least time (well under a microsecond)."""
    readings = []
    for _ in range(tries):
        before, wall, since_start, after = time.monotonic_ns(), time.time_ns(), _since_start_ns(), time.monotonic_ns()
        middle = (before + after) // 2
        readings.append((after - before, Anchor(wall, middle, 0 if since_start is None else since_start - middle)))
    return min(readings)[1]


def _since_start_ns() -> int | None:
    """Time since the system was started, including suspends; None where the system has no such clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return None if clock is None else time.clock_gettime_ns(clock)


class Clock:
    """Converts monotonic times to UTC, by an anchor."""

    def __init__(self, anchor: Anchor | None = None) -> None:
        """Use `anchor`, such as that of another process's clock, or read one now."""
        self.anchor = read_anchor() if anchor is None else anchor

    def wall_ns(self, monotonic_ns: int) -> int:
        """UTC in ns since 1970 of a `time.monotonic_ns()`."""
        return monotonic_ns + self.anchor.wall_ns - self.anchor.monotonic_ns

    def step(self) -> ClockStep:
        """Step of the wall clock since the anchor."""
        return read_anchor().since(self.anchor)

    def step_ns(self) -> int:
        """Step of the wall clock since the anchor, in ns; negative = back."""
        return self.step().total_ns

    def follow(self, now: Anchor | None = None) -> ClockStep | None:
        """Take a new anchor, `now`, if the wall clock has stepped since the last one, and return that step."""
        now = now or read_anchor()
        step = now.since(self.anchor)
        if not step.is_step:
            return None
        self.anchor = now
        return step


class DateTimeBuffer:
    """A circular array of `n` times, as openhsi's: `update` stores the current time.

    `data` holds datetime64[ns]; entries that were never written read as the first nanoseconds of 1970. From entry 0 to
    the last one, times do not step; if the clock was set meanwhile, the next entry 0 follows it.
    """

    def __init__(self, n: int = 16) -> None:
        """Make room for `n` times. Raises ArgumentError unless n is a whole number > 0."""
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ArgumentError(f"n must be a whole number > 0, got {n!r}")
        self.n = int(n)
        """Number of entries."""
        self.data: NDArray[Any] = np.arange(self.n).astype("datetime64[ns]")
        """UTC times, datetime64[ns] of shape (n,)."""
        self.write_pos = 0
        """Entry that the next `update` sets."""
        self.count = 0
        """Number of times stored, at most `n`."""
        self._clock = Clock()

    def update(self) -> None:
        """Store the current time, in UTC; wraps around after `n`."""
        if self.write_pos == 0:
            self._clock.follow()
        self.data[self.write_pos] = np.datetime64(self._clock.wall_ns(time.monotonic_ns()), "ns")
        self.write_pos = (self.write_pos + 1) % self.n
        self.count = min(self.count + 1, self.n)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Any) -> Any:
        """A timezone-aware UTC datetime (microseconds) for a number, an array of them for a slice or an array.

        IndexError for a number outside the times that were stored.
        """
        return _as_datetimes(self.data, self.count, key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.n}, count={self.count})"


class LineTimes:
    """Times of the cube being filled: `data` has one datetime64[ns] per line, oldest first."""

    def __init__(self, n: int, read_times_ns: Callable[[], NDArray[np.int64]]) -> None:
        self.n = n
        self._read_times_ns = read_times_ns

    @property
    def data(self) -> NDArray[Any]:
        """A copy: datetime64[ns], UTC, in time order."""
        return self._read_times_ns().astype("datetime64[ns]")

    @property
    def count(self) -> int:
        """Number of lines."""
        return len(self.data)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Any) -> Any:
        """As in `DateTimeBuffer`."""
        data = self.data
        return _as_datetimes(data, len(data), key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.n}, count={self.count})"


def _as_datetimes(data: NDArray[Any], count: int, key: Any) -> Any:
    if isinstance(key, int | np.integer):
        if not -count <= key < count:
            raise IndexError(f"time {key} of {count} does not exist")
        return _as_datetime(data[:count][key])
    return np.array([_as_datetime(value) for value in data[key]], dtype=object)


def _as_datetime(value: np.datetime64) -> datetime | None:
    """None for a time that is not known."""
    if np.isnat(value):
        return None
    microseconds: datetime = value.astype("datetime64[us]").astype(datetime)
    return microseconds.replace(tzinfo=UTC)
