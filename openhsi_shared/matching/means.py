"""Means of the samples within each exposure."""

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.matching.interpolating import (
    Floats,
    Parts,
    Times,
    between,
    holes_before,
    into_range,
    unit_quaternions,
)
from openhsi_shared.matching.states import State

__all__ = ["means_of"]

SMALLEST_RESULTANT = 1e-9
"""Angles whose mean vector is shorter cancel each other: they have no mean."""


def means_of(
    times: Times,
    numbers: Floats,
    at: Times,
    until: Times,
    kind: str,
    gap_s: float | None,
    tolerance_s: float | None,
    period: float,
) -> Parts:
    """Means from `at` to `until`, both included; see `match`. The age is that of the mean time of the samples."""
    last = len(times) - 1
    begin, stop = np.searchsorted(times, at, side="left"), np.searchsorted(times, until, side="right")
    middle = at + (until - at) // 2
    values, age_s, state = between(times, numbers, middle, "linear", kind, gap_s, tolerance_s, period)
    has = stop > begin
    if has.any():
        values[has] = _means(numbers, begin[has], stop[has], kind, period)
        own = _sums((times - times[0]) * 1e-9, begin[has], stop[has]) / (stop - begin)[has]
        age_s[has] = (middle[has] - times[0]) * 1e-9 - own
        state[has] = np.where(until[has] > times[last], State.EDGE, State.GOOD)
        holes = holes_before(times, gap_s)
        before = np.maximum(np.searchsorted(times, at, side="right") - 1, 0)
        after = np.minimum(np.searchsorted(times, until, side="left"), last)
        in_hole = has & (holes[after] > holes[before])
        values[in_hole], state[in_hole] = np.nan, State.GAP
    return values, age_s, state


def _means(numbers: Floats, begin: NDArray[np.intp], stop: NDArray[np.intp], kind: str, period: float) -> Floats:
    if kind == "quaternion":
        products = (numbers[1:] * numbers[:-1]).sum(axis=1)
        signs = np.append(1.0, np.where(products < 0, -1.0, 1.0)).cumprod()  # q and -q are the same attitude
        return unit_quaternions(_sums(numbers * signs[:, None], begin, stop))
    count = stop - begin
    count = count[:, None] if numbers.ndim == 2 else count
    if kind == "angle":
        radians = numbers * (2 * np.pi / period)
        sines, cosines = (_sums(part, begin, stop) for part in (np.sin(radians), np.cos(radians)))
        angles = np.arctan2(sines, cosines) * (period / (2 * np.pi))
        return into_range(
            np.where(np.hypot(sines, cosines) > SMALLEST_RESULTANT * count, angles, np.nan), numbers, period
        )
    return np.asarray(_sums(numbers, begin, stop) / count)


def _sums(numbers: Floats, begin: NDArray[np.intp], stop: NDArray[np.intp]) -> Floats:
    """Sums of parts that are not empty; NaN is only in the parts that contain it."""
    padded = np.concatenate([numbers, np.zeros((1, *numbers.shape[1:]))])  # `stop` may be the length
    return np.asarray(np.add.reduceat(padded, np.stack([begin, stop], axis=1).ravel(), axis=0)[::2])
