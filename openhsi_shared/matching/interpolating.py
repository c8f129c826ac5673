"""Interpolation between the samples of a series in the order of time."""

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.matching.states import State

__all__ = ["between", "holes_before", "into_range", "unit_quaternions"]

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Parts = tuple[Floats, Floats, NDArray[np.int8]]
"""Values, ages in s and states of lines."""


def between(
    times: Times,
    numbers: Floats,
    at: Times,
    how: str,
    kind: str,
    gap_s: float | None,
    tolerance_s: float | None,
    period: float,
) -> Parts:
    """Values at times between samples, NaN elsewhere; see `match`. `times` is not empty, and strictly increasing."""
    last = len(times) - 1
    earlier = times.searchsorted(at, side="right") - 1
    is_before, is_after = earlier < 0, earlier == last
    first = np.maximum(earlier, 0)
    second = np.minimum(first + 1, last)
    before = times[first]
    width, passed = times[second] - before, at - before
    is_bad = is_before | is_after
    if gap_s is not None:
        is_bad |= width > np.rint(gap_s * 1e9)
    if tolerance_s is not None:
        is_bad |= np.minimum(passed, width - passed) > np.rint(tolerance_s * 1e9)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # of NaN, inf, and where there is no neighbour
        share = passed / width
        values = _linear(numbers, first, second, share, kind, period)
        if how == "cubic" and last >= 3:
            cubic = _cubic(times, numbers, at, first, kind, gap_s, period)
            values = np.where(np.isnan(cubic), values, cubic)
    age_s = np.asarray(passed * 1e-9, np.float64)
    state = np.zeros(len(at), np.int8)  # GOOD
    if is_bad.any():
        values[is_bad], state[is_bad] = np.nan, State.GAP
        state[is_after], age_s[is_before] = State.EDGE, np.nan
    is_sample = np.flatnonzero(passed == 0)
    if len(is_sample):  # beside a hole, a NaN or the end, too
        values[is_sample], state[is_sample] = numbers[earlier[is_sample]], State.GOOD
    return values, age_s, state


def holes_before(times: Times, gap_s: float | None) -> NDArray[np.intp]:
    """For each sample, how many holes longer than `gap_s` are before it."""
    is_hole = np.zeros(len(times), np.intp)
    if gap_s is not None:
        is_hole[1:] = np.diff(times) > np.rint(gap_s * 1e9)
    return np.cumsum(is_hole)


def into_range(angles: Floats, samples: Floats, period: float) -> Floats:
    """Angles from 0 to `period`, or from minus to plus half of it if some of the samples are negative."""
    low = np.where((samples < 0).any(axis=0), -period / 2, 0.0)
    is_outside = (angles < low) | (angles >= low + period)
    turned = low + np.mod(angles - low, period)
    turned = np.where(turned >= low + period, low, turned)  # of an angle just below
    return np.where(is_outside, turned, angles)


def unit_quaternions(quaternions: Floats) -> Floats:
    """Quaternions (n, 4) of length 1; NaN for those of length 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True))


def _linear(
    numbers: Floats, first: NDArray[np.intp], second: NDArray[np.intp], share: Floats, kind: str, period: float
) -> Floats:
    one, other = numbers[first], numbers[second]
    share = share[:, None] if numbers.ndim == 2 else share
    if kind == "quaternion":
        return _slerp(one, other, share)
    if kind == "angle":
        return into_range(one + share * _shorter_way(other - one, period), numbers, period)
    return np.asarray(one + share * (other - one))


def _shorter_way(difference: Floats, period: float) -> Floats:
    return np.asarray(np.mod(difference + period / 2, period) - period / 2)


def _slerp(one: Floats, other: Floats, share: Floats) -> Floats:
    other = np.where((one * other).sum(axis=-1, keepdims=True) < 0, -other, other)  # q and -q are the same attitude
    length = np.linalg.norm
    angle = 2 * np.arctan2(length(other - one, axis=-1, keepdims=True), length(other + one, axis=-1, keepdims=True))
    sine = np.sin(angle)
    is_small = sine < 1e-9
    weights = [np.where(is_small, part, np.sin(part * angle) / sine) for part in (1 - share, share)]
    return unit_quaternions(weights[0] * one + weights[1] * other)


def _cubic(
    times: Times,
    numbers: Floats,
    at: Times,
    first: NDArray[np.intp],
    kind: str,
    gap_s: float | None,
    period: float,
) -> Floats:
    """Of the polynomial through four samples (Lagrange's form); NaN where a hole is between them."""
    begin = np.minimum(np.maximum(first - 1, 0), len(times) - 4)
    window = begin[:, None] + np.arange(4)
    nodes = (times[window] - times[first][:, None]) * 1e-9
    x = (at - times[first]) * 1e-9
    samples = numbers[window]
    if kind == "angle":
        steps = _shorter_way(np.diff(samples, axis=1), period)
        samples = np.concatenate([samples[:, :1], samples[:, :1] + np.cumsum(steps, axis=1)], axis=1)
    values = np.zeros((len(at), *numbers.shape[1:]))
    for node in range(4):
        weight = np.ones(len(at))
        for other in range(4):
            if other != node:
                weight *= (x - nodes[:, other]) / (nodes[:, node] - nodes[:, other])
        values += (weight[:, None] if numbers.ndim == 2 else weight) * samples[:, node]
    if kind == "angle":
        values = into_range(values, numbers, period)
    holes = holes_before(times, gap_s)
    values[holes[begin + 3] > holes[begin]] = np.nan
    return values
