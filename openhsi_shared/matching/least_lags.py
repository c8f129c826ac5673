"""The straight line below the lags of the samples of ten minutes."""

import bisect
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LeastLags", "Line"]

WINDOW_NS = 600 * 10**9
STEP_NS = 60 * 10**9
"""One line a minute, for the ten minutes around it; in between, lines are blended."""
BIN_NS = WINDOW_NS // 2048
"""Of the samples within this time, only the one with the least lag is kept."""
USUAL_DRIFT = 1e-4
"""Of quartz oscillators; a drift that is less certain than this tends to 0."""
WANDER = 1e-6
"""By how much a drift changes within the hour, as with temperature."""
MAX_HOST_OFFSET_NS = 100_000_000
N_TOUCHING = 5
"""That many of the least residuals of each half show the uncertainty."""


class Line(NamedTuple):
    """A straight line below lags."""

    stamp_ns: int
    """Middle of its samples."""
    lag_ns: float
    """There, beyond the base."""
    slope: float
    uncertainty_ns: float
    half_span_ns: float


class LeastLags:
    """Samples of a clock that was not set meanwhile, by stamp, and the lines below their lags."""

    def __init__(self, base: int, is_host: bool) -> None:
        """`base` is about the least lag: an integer, so that lags of years keep their nanoseconds."""
        self.base = base
        self.last_arrival_ns = 0
        self._is_host = is_host
        self._stamps: list[int] = []
        self._lags: list[int] = []
        self._n = 0
        self._done: list[Line] = []
        """Of windows that are complete; their samples are dropped, so that memory does not grow."""
        self._newest: Line | None = None
        self._window_from = 0

    def add(self, stamp: int, lag: int) -> None:
        """Take a sample; stamps may be out of order."""
        stamps, lags = self._stamps, self._lags
        lag -= self.base
        self.last_arrival_ns = max(self.last_arrival_ns, stamp + lag + self.base)
        self._newest = None
        self._n += 1
        if not stamps:
            self._window_from = stamp
        if stamps and stamp // BIN_NS == stamps[-1] // BIN_NS:
            if lag < lags[-1]:
                stamps[-1], lags[-1] = stamp, lag
        elif not stamps or stamp > stamps[-1]:
            stamps.append(stamp)
            lags.append(lag)
            if stamp - self._window_from >= WINDOW_NS + STEP_NS:
                self._finish_windows()
        else:
            position = bisect.bisect(stamps, stamp)
            stamps.insert(position, stamp)
            lags.insert(position, lag)

    @property
    def newest(self) -> Line:
        """Of the last ten minutes."""
        if self._newest is None:
            first = bisect.bisect_left(self._stamps, self._stamps[-1] - WINDOW_NS)
            self._newest = self._line(first, len(self._stamps))
        return self._newest

    def lag_at(self, stamps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Least lags at times of the source."""
        lines = [*self._done, self.newest]
        centres = np.array([line.stamp_ns for line in lines])
        after = np.clip(np.searchsorted(centres, stamps), 1, max(1, len(lines) - 1))
        one, other = after - 1, np.minimum(after, len(lines) - 1)
        width = np.maximum(centres[other] - centres[one], 1)
        share = np.clip((stamps - centres[one]) / width, 0, 1)
        table = np.array([(line.lag_ns, line.slope) for line in lines])
        lags = [table[which, 0] + table[which, 1] * (stamps - centres[which]) for which in (one, other)]
        return np.asarray(self.base + np.rint((1 - share) * lags[0] + share * lags[1]).astype(np.int64))

    def lag_at_arrival(self, arrivals: NDArray[np.int64]) -> NDArray[np.int64]:
        """Least lags at times of the lines."""
        lags = np.full(arrivals.shape, self.base, np.int64)
        for _ in range(3):  # each round is 1000 times as near
            lags = self.lag_at(arrivals - lags)
        return lags

    def uncertainty_at_arrival(self, arrivals: NDArray[np.int64]) -> NDArray[np.float64]:
        """Uncertainty at times of the lines, which grows outside of the samples."""
        stamps = arrivals - self.base
        lines = [*self._done, self.newest]
        nearest = np.abs(stamps[..., None] - np.array([line.stamp_ns for line in lines])).argmin(axis=-1)
        table = np.array([(line.stamp_ns, line.uncertainty_ns, line.half_span_ns) for line in lines])[nearest]
        outside = np.maximum(np.abs(stamps - table[..., 0]) - table[..., 2], 0)
        slope = np.minimum(table[..., 1] / np.maximum(table[..., 2], 1), USUAL_DRIFT)
        return np.asarray(table[..., 1] + outside * (slope + WANDER))

    def _finish_windows(self) -> None:
        while self._stamps[-1] - self._window_from >= WINDOW_NS + STEP_NS:
            stop = bisect.bisect_left(self._stamps, self._window_from + WINDOW_NS)
            if stop:
                self._done.append(self._line(0, stop))
            self._window_from += STEP_NS
            first = bisect.bisect_left(self._stamps, self._window_from)
            del self._stamps[:first], self._lags[:first]
            if first and self._stamps[0] - self._window_from > WINDOW_NS:  # after a long silence
                self._window_from = self._stamps[0]

    def _line(self, first: int, stop: int) -> Line:
        stamps, lags = np.array(self._stamps[first:stop]), np.array(self._lags[first:stop], np.float64)
        middle = int(stamps[0] + (stamps[-1] - stamps[0]) // 2)
        x, half_span = (stamps - middle).astype(np.float64), float(stamps[-1] - stamps[0]) / 2
        if self._is_host:
            lag = float(lags.min())
            lag = -float(self.base) if abs(lag + self.base) < MAX_HOST_OFFSET_NS else lag
            return Line(middle, lag, 0.0, 0.0 if len(lags) >= N_TOUCHING else np.inf, half_span)
        slope = _slope_below(x, lags)
        uncertainty = _touching(x, lags - slope * x)
        if half_span and np.isfinite(uncertainty):
            slope *= USUAL_DRIFT**2 / (USUAL_DRIFT**2 + (uncertainty / half_span) ** 2)
        else:
            slope = 0.0
        residuals = lags - slope * x
        return Line(middle, float(residuals.min()), slope, _touching(x, residuals), half_span)


def _slope_below(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Slope of the edge of the lower convex hull above the mean of x."""
    is_left = x <= x.mean()
    if is_left.all():
        return 0.0
    left, right = np.flatnonzero(is_left), np.flatnonzero(~is_left)
    a, b = left[y[left].argmin()], right[y[right].argmin()]
    for _ in range(len(x)):
        slope = (y[b] - y[a]) / (x[b] - x[a])
        below = y - slope * x
        lowest = below.argmin()
        if below[lowest] >= below[a] - 1e-6 * (1 + abs(below[a])):
            break
        a, b = (lowest, b) if is_left[lowest] else (a, lowest)
    return float(slope)


def _touching(x: NDArray[np.float64], residuals: NDArray[np.float64]) -> float:
    """How far the fifth lowest residual of either half lies above the lowest."""
    if len(x) < N_TOUCHING:
        return np.inf
    lowest = residuals.min()
    halves = [residuals[x <= 0], residuals[x > 0]]
    fifths = [np.partition(half, min(N_TOUCHING, len(half)) - 1)[:N_TOUCHING].max() for half in halves if len(half)]
    return float(max(fifths) - lowest)
