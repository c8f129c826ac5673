"""Times of lines: a clock that never steps back, and arrays of times.

The time of a line is read from the monotonic clock; its offset from UTC is fixed once, by an anchor: a pair of both
clocks read together. The wall clock may then be set or step: line times are not affected, and the step is detected.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError

__all__ = ["Anchor", "Clock", "DateTimeBuffer", "LineTimes"]


class Anchor(NamedTuple):
    """Both clocks, read together."""

    wall_ns: int
    monotonic_ns: int


def read_anchor(tries: int = 5) -> Anchor:
    """Read both clocks together: of several tries the one that took the least time (well under a microsecond)."""
    readings = []
    for _ in range(tries):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, Anchor(wall, (before + after) // 2)))
    return min(readings)[1]


class Clock:
    """Converts monotonic times to UTC, by an anchor."""

    def __init__(self, anchor: Anchor | None = None) -> None:
        """Use `anchor`, such as that of another process's clock, or read one now."""
        self.anchor = read_anchor() if anchor is None else anchor

    def wall_ns(self, monotonic_ns: int) -> int:
        """UTC in ns since 1970 of a `time.monotonic_ns()`."""
        return monotonic_ns + self.anchor.wall_ns - self.anchor.monotonic_ns

    def step_ns(self) -> int:
        """Step of the wall clock since the anchor, in ns; negative = back."""
        now = read_anchor()
        return now.wall_ns - self.wall_ns(now.monotonic_ns)


class DateTimeBuffer:
    """A circular array of `n` times, as openhsi's: `update` stores the current time.

    `data` holds datetime64[ns]; entries that were never written read as the first nanoseconds of 1970. Times never step
    back.
    """

    def __init__(self, n: int = 16) -> None:
        """Make room for `n` times. Raises ArgumentError unless n is a whole number > 0."""
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ArgumentError(f"n must be a whole number > 0, got {n!r}")
        self.n = int(n)
        self.data: NDArray[Any] = np.arange(self.n).astype("datetime64[ns]")
        self.write_pos = 0
        self.count = 0
        self._clock = Clock()

    def update(self) -> None:
        """Store the current time, in UTC; wraps around after `n`."""
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


def _as_datetime(value: np.datetime64) -> datetime:
    microseconds: datetime = value.astype("datetime64[us]").astype(datetime)
    return microseconds.replace(tzinfo=UTC)
