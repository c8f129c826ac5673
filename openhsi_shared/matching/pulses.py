"""Pulses of whole seconds: where the seconds begin on the clock of the lines, to microseconds, but not which ones.

A straight line is fitted to the pulses of a minute, every ten seconds: over a minute a quartz oscillator does not
change its rate by a part in 10^8. Pulses that are doubled or late are left out: the fit begins with the
most pulses at one phase of the second, one for each second, and the median slope (H. Theil, P. K. Sen, Estimates of the
regression coefficient based on Kendall's tau, J. Am. Stat. Assoc. 63, 1968). What is left has the uncertainty.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.matching.least_lags import USUAL_DRIFT, WANDER

__all__ = ["SECOND_NS", "Phases", "PulseFit", "wrapped"]

SECOND_NS = 10**9
HALF_WINDOW_NS = 30 * SECOND_NS
STEP_NS = 10 * SECOND_NS
WIDTH_NS = 20_000_000
"""Of the pulses of a window, by drift and jitter."""
MIN_PULSES = 5
MIN_SHARE = 0.6
"""Of the pulses of a window that must be at one phase: with both edges of each pulse it is a half."""
N_SPREADS = 4.0
"""A pulse that is further from the line than so many standard deviations is left out."""


class Phases(NamedTuple):
    """For some times, of any shape."""

    phase_ns: NDArray[np.int64]
    """What is added to a time, modulo 1 s, so that seconds are whole at the pulses: 0 to 1 s."""
    uncertainty_ns: NDArray[np.float64]
    """About 95 %; infinite where the phase is not known."""


class _Line(NamedTuple):
    """The pulses around one time."""

    at_ns: int
    phase_ns: float
    """There, modulo 1 s, without `at_ns`."""
    slope: float
    uncertainty_ns: float
    half_span_ns: float


class PulseFit:
    """Lines through pulses; those of windows that have not changed since the last call are kept."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[int, ...], _Line | None]] = {}

    def phases(self, pulses_ns: NDArray[np.int64], at_ns: NDArray[np.int64], least_uncertainty_ns: float) -> Phases:
        """Phase of the second at times by the clock of pulses (n,), which are in order.

        `least_uncertainty_ns`: of a constant delay, which the pulses cannot show.
        """
        at = np.asarray(at_ns, np.int64)
        lines = self._lines(pulses_ns, at, least_uncertainty_ns)
        if not lines:
            return Phases(np.zeros(at.shape, np.int64), np.full(at.shape, np.inf))
        centres = np.array([line.at_ns for line in lines])
        table = np.array([line[1:] for line in lines])
        other = np.clip(np.searchsorted(centres, at), 0, len(lines) - 1)
        one = np.maximum(other - (centres[other] > at), 0)
        found = [_at(centres[which], table[which], at) for which in (one, other)]
        differs = wrapped(found[1] - found[0], SECOND_NS // 2)
        width = centres[other] - centres[one]
        share = np.clip((at - centres[one]) / np.maximum(width, 1), 0.0, 1.0)
        steepness = np.maximum(_steepness(table[one]), _steepness(table[other]))
        uncertainties = table[one][..., 2], table[other][..., 2]
        is_step = np.abs(differs) > 5 * sum(uncertainties) + width * steepness
        uncertainty = np.maximum(*uncertainties) + _distance(pulses_ns, at) * steepness
        phase = (found[0] + np.rint(share * differs).astype(np.int64)) % SECOND_NS
        return Phases(phase, np.where(is_step, np.inf, uncertainty))

    def _lines(self, pulses: NDArray[np.int64], at: NDArray[np.int64], least_uncertainty_ns: float) -> list[_Line]:
        """Lines around the times, and the next ones before and after them that there are."""
        if len(pulses) < MIN_PULSES or at.size == 0:
            return []
        centres = np.unique(pulses // STEP_NS) * STEP_NS
        firsts = np.searchsorted(pulses, centres - HALF_WINDOW_NS)
        stops = np.searchsorted(pulses, centres + HALF_WINDOW_NS)
        begin = int(np.searchsorted(centres, at.min() - STEP_NS))
        end = int(np.searchsorted(centres, at.max() + STEP_NS, side="right"))

        def line(number: int) -> _Line | None:
            of_window = pulses[firsts[number] : stops[number]]
            centre, key = int(centres[number]), (int(of_window[0]), int(of_window[-1]), len(of_window))
            if self._known.get(centre, ((), None))[0] != key:
                self._known[centre] = key, _line(of_window, centre, least_uncertainty_ns)
            return self._known[centre][1]

        before = next((found for number in reversed(range(begin)) if (found := line(number))), None)
        after = next((found for number in range(end, len(centres)) if (found := line(number))), None)
        inside = [line(number) for number in range(begin, end)]
        return [one for one in (before, *inside, after) if one is not None]


def wrapped(ns: NDArray[np.int64], below_ns: Any) -> NDArray[np.int64]:
    """Times modulo 1 s, from -`below_ns` on.

    >>> wrapped(np.array([900_000_000, 2_100_000_000]), 500_000_000).tolist()
    [-100000000, 100000000]
    """
    return np.asarray((ns + below_ns) % SECOND_NS - below_ns)


def _at(centres: NDArray[np.int64], table: NDArray[np.float64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    ahead = np.rint(table[..., 0] + table[..., 1] * (at - centres)).astype(np.int64)
    return np.asarray((ahead - centres) % SECOND_NS)


def _steepness(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much the uncertainty grows with the distance to the pulses."""
    return np.asarray(np.minimum(table[..., 2] / np.maximum(table[..., 3], 1), USUAL_DRIFT) + WANDER)


def _distance(pulses: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """From each time to the nearest pulse."""
    after = np.clip(np.searchsorted(pulses, at), 1, len(pulses) - 1)
    return np.asarray(np.minimum(np.abs(at - pulses[after - 1]), np.abs(at - pulses[after])))


def _line(pulses: NDArray[np.int64], at_ns: int, least_uncertainty_ns: float) -> _Line | None:
    """The line through the pulses of a window; None if there are too few, or too many others."""
    x = pulses - at_ns
    if len(x) < MIN_PULSES:
        return None
    sorted_phases = np.sort(x % SECOND_NS)
    around = np.append(sorted_phases, sorted_phases + SECOND_NS)
    n_near = np.searchsorted(around, sorted_phases + WIDTH_NS, side="right") - np.arange(len(x))
    begin = int(sorted_phases[n_near.argmax()])
    x = x[(x - begin) % SECOND_NS <= WIDTH_NS]
    if len(x) < MIN_SHARE * len(pulses):
        return None
    seconds, firsts = np.unique((x - begin) // SECOND_NS, return_index=True)
    y = (seconds * SECOND_NS - x[firsts]).astype(np.float64)
    return _fitted(x[firsts].astype(np.float64), y, at_ns, least_uncertainty_ns)


def _fitted(x: NDArray[np.float64], y: NDArray[np.float64], at_ns: int, least_uncertainty_ns: float) -> _Line | None:
    one, other = np.triu_indices(len(x), 1)
    if not len(one):
        return None
    residuals = y - np.median((y[other] - y[one]) / (x[other] - x[one])) * x
    off = np.abs(residuals - np.median(residuals))
    used = off <= max(N_SPREADS * 1.4826 * float(np.median(off)), 1.0)
    x, y = x[used], y[used]
    if len(x) < MIN_PULSES:
        return None
    middle, half_span = x.mean(), float(x.max() - x.min()) / 2
    slope = float(((x - middle) * (y - y.mean())).sum() / ((x - middle) ** 2).sum())
    spread = float(np.sqrt(np.mean((y - y.mean() - slope * (x - middle)) ** 2)))
    uncertainty = max(least_uncertainty_ns, 2 * spread)
    slope *= USUAL_DRIFT**2 / (USUAL_DRIFT**2 + (2 * spread / half_span) ** 2)
    return _Line(at_ns, float(y.mean() - slope * middle), slope, uncertainty, half_span)
