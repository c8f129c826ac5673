"""Delays between channels: thresholds, constant shifts in time, shifts by rows."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError

__all__ = ["Differences", "differences_of", "estimate_shift", "shifted_rows"]

MIN_DIFFERENCES = 10
"""Fewer differences suggest nothing."""
N_BINS = 40
MARGIN = 1.5
"""The threshold that is suggested, as a multiple of nearly all differences."""
MIN_PAIRS = 5
"""Fewer pairs of values are no correlation."""


class Differences(NamedTuple):
    """Times of a channel's updates minus those of the reference's updates nearest to them."""

    n: int
    """How many there are."""
    counts: NDArray[np.int64]
    """Histogram."""
    edges_s: NDArray[np.float64]
    """Edges of its bins."""
    threshold_s: float | None
    """A `timestamp_threshold` that nearly all of them fit into; None if there are too few, or it would be more than
    the reference's period, beyond which another update is nearer."""
    shift_s: float | None
    """A constant shift of the channel's stamps, if there is one: the negative of it is its `clock_offset_s`."""


def differences_of(differences_ns: ArrayLike, reference_period_s: float | None = None) -> Differences:
    """What differences of times show; NaN periods, and None, are unknown."""
    seconds = np.asarray(differences_ns, np.float64) * 1e-9
    if len(seconds) == 0:
        return Differences(0, np.zeros(N_BINS, np.int64), np.linspace(-1, 1, N_BINS + 1), None, None)
    most = max(float(np.abs(seconds).max()), 1e-9)
    counts, edges = np.histogram(seconds, bins=N_BINS, range=(-most, most))
    if len(seconds) < MIN_DIFFERENCES:
        return Differences(len(seconds), counts, edges, None, None)
    threshold = MARGIN * float(np.quantile(np.abs(seconds), 0.99))
    threshold_s = None if reference_period_s and threshold > reference_period_s else threshold
    middle = float(np.median(seconds))
    scatter = float(np.quantile(np.abs(seconds - middle), 0.9))
    return Differences(len(seconds), counts, edges, threshold_s, middle if abs(middle) > 2 * scatter else None)


def estimate_shift(column: ArrayLike, other: ArrayLike, most: int = 10) -> int:
    """By how many rows `column` must be moved to correlate best with `other`: value i - n belongs in row i.

    Compares the correlations (either sign) of all shifts from -`most` to `most`, over the rows that both have; NaN are
    left out, and of equal correlations the smaller shift counts. ArgumentError where none can be computed: fewer than
    five pairs, or a column that is constant.

    >>> estimate_shift([0, 3, 1, 4, 1, 5, 9, 2], [1, 4, 1, 5, 9, 2, 6, 5], most=3)
    -2
    """
    one, two = np.asarray(column, np.float64), np.asarray(other, np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise ArgumentError(f"columns have shapes {one.shape} and {two.shape}, expected numbers for the same rows")
    if most < 0:
        raise ArgumentError(f"most must be a whole number >= 0, got {most!r}")
    found = [(_correlation(one, two, n), -abs(n), n) for n in range(-most, most + 1)]
    best = max((round(r, 12), near, n) for r, near, n in found)
    if best[0] < 0:
        raise ArgumentError(
            f"no shift can be estimated from {len(one)} rows: at least {MIN_PAIRS} must have numbers in both columns, "
            "and neither may be constant"
        )
    return best[2]


def shifted_rows(n_rows: int, shifts: Mapping[str, int], names: ArrayLike) -> dict[str, slice]:
    """For each column, the part of it whose values stand in the same rows, after columns were shifted.

    A column that is shifted by n has the value of row i - n in row i; rows without a value in each column are left out.

    >>> shifted_rows(10, {"image": 2}, ["charge", "image"])
    {'charge': slice(2, 10, None), 'image': slice(0, 8, None)}
    """
    all_shifts = [shifts.get(name, 0) for name in np.asarray(names).tolist()]
    first, stop = max([0, *all_shifts]), n_rows + min([0, *all_shifts])
    stop = max(stop, first)
    return {
        name: slice(first - n, stop - n) if stop > first else slice(0, 0)
        for name, n in zip(np.asarray(names).tolist(), all_shifts, strict=True)
    }


def _correlation(column: NDArray[np.float64], other: NDArray[np.float64], n: int) -> float:
    """Absolute value of Pearson's r; -1 where there is none."""
    size = len(column)
    one, two = column[max(0, -n) : size - max(0, n)], other[max(0, n) : size - max(0, -n)]
    is_pair = np.isfinite(one) & np.isfinite(two) if len(one) == len(two) else np.zeros(0, bool)
    if is_pair.sum() < MIN_PAIRS:
        return -1.0
    one, two = one[is_pair] - one[is_pair].mean(), two[is_pair] - two[is_pair].mean()
    length = np.sqrt((one @ one) * (two @ two))
    return float(abs(one @ two) / length) if length > 0 else -1.0
