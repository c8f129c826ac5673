"""Offset and drift of a source's clock against the clock of the lines.

A sample arrives after its stamp, never before it, so the least lag (arrival minus stamp) shows the offset. The fit is
the straight line below all lags of ten minutes that is nearest to them: the edge of their lower convex hull at their
mean time (S. Moon, P. Skelly, D. Towsley, Estimation and removal of clock skew from network delay measurements, INFOCOM
1999). A latency that is always there cannot be told from an offset.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError
from openhsi_shared.matching.least_lags import LeastLags

__all__ = ["LEAP_SECONDS_UNTIL", "ClockFit", "Jump", "leap_seconds"]

MIN_JUMP_NS = 100_000_000
"""What moves by less is drift or jitter: clocks that are kept right are slewed up to 0.1 s, and set beyond."""
LEAK = 1e-3
"""A source's clock is not slower than this, so that the least lag cannot rise faster."""
N_SURE, SURE_NS, LATE_NS = 5, 10**9, 10**10
"""That many samples, and 1 s, are a clock; samples that come late for 10 s are not late, but stamped by another one."""
MIN_CONTRADICTION_NS = 20_000_000


class Jump(NamedTuple):
    """The clock of a source was set: between the two samples, its time is not known."""

    from_ns: int
    """Arrival of the last sample before, on the clock of the lines."""
    until_ns: int
    """Arrival of the first sample after."""
    by_ns: int
    """How far it was set, positive = forwards."""


class ClockFit:
    """Fit of a source's clock, by the stamps of its samples and their arrivals on the clock of the lines (ns).

    `offset_ns` is the time of the source minus that of the lines. The fit slides over ten minutes; when the clock of
    the source is set, by 0.1 s or more, a new one begins. `is_host`: the stamps are of this computer's own wall clock,
    which has no drift against the lines, and an offset only after it was set.
    """

    def __init__(self, *, is_host: bool = False) -> None:
        self.jumps: list[Jump] = []
        """In the order of time."""
        self._is_host = is_host
        self._segments: list[LeastLags] = []
        self._begins: list[int] = []
        self._late: list[tuple[int, int]] = []
        self._base = self._n_near = self._near_since = self._last_near = self._last_stamp = 0

    @classmethod
    def fit(cls, stamps_ns: ArrayLike, arrivals_ns: ArrayLike, *, is_host: bool = False) -> Self:
        """The fit of a whole series: stamps and arrivals (n,). ArgumentError as in `add`."""
        fit = cls(is_host=is_host)
        fit.add(stamps_ns, arrivals_ns)
        return fit

    def add(self, stamp_ns: ArrayLike, arrival_ns: ArrayLike) -> None:
        """Take a sample, or arrays (n,) of them in the order in which they arrived. About 1 us a sample.

        ArgumentError for what is no whole ns, or as many stamps as arrivals.
        """
        stamps, arrivals = np.atleast_1d(stamp_ns), np.atleast_1d(arrival_ns)
        if stamps.shape != arrivals.shape or not {stamps.dtype.kind, arrivals.dtype.kind} <= set("iu"):
            raise ArgumentError(
                f"stamps and arrivals must be whole ns, as many of each, got {stamps.shape} of {stamps.dtype} and "
                f"{arrivals.shape} of {arrivals.dtype}"
            )
        for stamp, arrival in zip(stamps.tolist(), arrivals.tolist(), strict=True):
            self._add(stamp, arrival)

    def offset_ns(self, at_ns: ArrayLike) -> NDArray[np.int64]:
        """Time of the source minus time of the lines, at times of the lines: a number, or an array of any shape.

        Before the first sample and after the last, the line is continued. ArgumentError if there is no sample yet.
        """
        at = np.asarray(at_ns, np.int64)
        result = np.empty(at.shape, np.int64)
        which = self._segment_at(at)
        for number, segment in self._each(which):
            chosen = which == number
            result[chosen] = -segment.lag_at_arrival(at[chosen])
        return result

    def line_times_ns(self, stamps_ns: ArrayLike, arrivals_ns: ArrayLike) -> NDArray[np.int64]:
        """Stamps of samples, on the clock of the lines: arrays of one shape. ArgumentError before the first sample."""
        stamps, arrivals = np.asarray(stamps_ns, np.int64), np.asarray(arrivals_ns, np.int64)
        result = np.empty(stamps.shape, np.int64)
        which = self._segment_at(arrivals)
        for number, segment in self._each(which):
            chosen = which == number
            result[chosen] = stamps[chosen] + segment.lag_at(stamps[chosen])
        return result

    def is_jumped(self, at_ns: ArrayLike) -> NDArray[np.bool_]:
        """Which times of lines, of any shape, lie between the samples before and after a jump."""
        at = np.asarray(at_ns, np.int64)
        result = np.zeros(at.shape, bool)
        for jump in self.jumps:
            result |= (at > jump.from_ns) & (at < jump.until_ns)
        return result

    @property
    def is_known(self) -> bool:
        """Whether there are samples enough for an uncertainty."""
        return bool(self._segments) and np.isfinite(self.uncertainty_ns)

    @property
    def drift(self) -> float:
        """How much faster than that of the lines the clock of the source runs now: 5e-5 gains 50 us in a second.

        ArgumentError before the first sample.
        """
        slope = self._last().newest.slope
        return -slope / (1 + slope)

    @property
    def uncertainty_ns(self) -> float:
        """Of the offset, within the time of the newest fit; infinite below five samples.

        ArgumentError before the first sample.
        """
        return self._last().newest.uncertainty_ns

    def uncertainty_at_ns(self, at_ns: ArrayLike) -> NDArray[np.float64]:
        """Of the offset at times of lines, of any shape: grows before the first sample and after the last.

        ArgumentError before the first sample.
        """
        at = np.asarray(at_ns, np.int64)
        result = np.empty(at.shape)
        which = self._segment_at(at)
        for number, segment in self._each(which):
            chosen = which == number
            result[chosen] = segment.uncertainty_at_arrival(at[chosen])
        return result

    @property
    def jumped_at(self) -> int | None:
        """Arrival of the first sample after the latest jump; None if there was none."""
        return self.jumps[-1].until_ns if self.jumps else None

    def contradiction_s(self, clock_offset_s: float = 0.0) -> float | None:
        """The `clock_offset_s` that fits, if the one that is given is wrong by more than 20 ms and the uncertainty.

        It is what must be added to the stamps of the source to have times of the lines. None, too, with too few
        samples.
        """
        if not self.is_known:
            return None
        found_ns = -int(self.offset_ns(self._segments[-1].last_arrival_ns))
        is_wrong = abs(found_ns - clock_offset_s * 1e9) > self.uncertainty_ns + MIN_CONTRADICTION_NS
        return found_ns * 1e-9 if is_wrong else None

    def _add(self, stamp: int, arrival: int) -> None:
        lag = arrival - stamp
        if not self._segments:
            self._begin([(stamp, arrival)])
            return
        base = self._base + LEAK * max(0, arrival - self._last_near)
        if lag < base - MIN_JUMP_NS:
            is_sure = self._n_near >= N_SURE and self._last_near - self._near_since >= SURE_NS
            if is_sure:
                self._jump([(stamp, arrival)])
            else:  # those before were late, such as the first value of a variable that seldom changes
                self._segments.pop()
                first = self._begins.pop()
                self._begin([(stamp, arrival)])
                self._begins[-1] = first
        elif lag > base + MIN_JUMP_NS:
            self._late.append((stamp, arrival))
            self._judge_late()
        else:
            self._late.clear()
            self._take(stamp, arrival, min(lag, int(base)))

    def _judge_late(self) -> None:
        """Whether the late samples show a clock that was set back, which is always as late."""
        if len(self._late) < N_SURE:
            return
        passed = self._late[-1][1] - self._late[0][1]
        if passed < (SURE_NS if self._late[0][0] <= self._last_stamp else LATE_NS):
            return
        half = len(self._late) // 2
        lags = [arrival - stamp for stamp, arrival in self._late]
        if abs(min(lags[:half]) - min(lags[half:])) < MIN_JUMP_NS / 2:
            self._jump(self._late)
        else:
            del self._late[:half]

    def _jump(self, samples: list[tuple[int, int]]) -> None:
        by = int(self._base) - min(arrival - stamp for stamp, arrival in samples)
        self.jumps.append(Jump(self._last_near, samples[0][1], by))
        self._begin(list(samples))

    def _begin(self, samples: list[tuple[int, int]]) -> None:
        self._late.clear()
        least = min(arrival - stamp for stamp, arrival in samples)
        self._segments.append(LeastLags(least, self._is_host))
        self._begins.append(samples[0][1])
        self._n_near, self._near_since = 0, samples[0][1]
        for stamp, arrival in samples:
            self._take(stamp, arrival, least)

    def _take(self, stamp: int, arrival: int, base: int) -> None:
        self._base = base
        self._n_near += 1
        self._last_near, self._last_stamp = arrival, stamp
        self._segments[-1].add(stamp, arrival - stamp)

    def _segment_at(self, at: NDArray[np.int64]) -> NDArray[np.intp]:
        self._last()
        return np.maximum(np.searchsorted(self._begins, at, side="right") - 1, 0)

    def _each(self, which: NDArray[np.intp]) -> list[tuple[int, LeastLags]]:
        return [(int(number), self._segments[number]) for number in np.unique(which)]

    def _last(self) -> LeastLags:
        if not self._segments:
            raise ArgumentError("no sample of the source has arrived yet: its clock is not known")
        return self._segments[-1]


_LEAPS = (
    ("1981-07-01", 1), ("1982-07-01", 2), ("1983-07-01", 3), ("1985-07-01", 4), ("1988-01-01", 5), ("1990-01-01", 6),
    ("1991-01-01", 7), ("1992-07-01", 8), ("1993-07-01", 9), ("1994-07-01", 10), ("1996-01-01", 11),
    ("1997-07-01", 12), ("1999-01-01", 13), ("2006-01-01", 14), ("2009-01-01", 15), ("2012-07-01", 16),
    ("2015-07-01", 17), ("2017-01-01", 18),
)  # fmt: skip
"""GPS time minus UTC in s, from these days on (IERS, leap-seconds.list)."""
LEAP_SECONDS_UNTIL = np.datetime64("2026-06-28", "ns")
"""No other leap second is known until then (IERS Bulletin C 70); the last number is used later, too."""


def leap_seconds(at_ns: int, leap_seconds: int | None = None) -> int:
    """GPS time minus UTC, in s, at a time in UTC ns: by the table, or `leap_seconds`, such as what a receiver says.

    >>> leap_seconds(1_600_000_000 * 10**9)
    18
    """
    if leap_seconds is not None:
        return leap_seconds
    days = np.array([day for day, _ in _LEAPS], "datetime64[ns]").astype(np.int64)
    position = int(np.searchsorted(days, at_ns, side="right"))
    return _LEAPS[position - 1][1] if position else 0
