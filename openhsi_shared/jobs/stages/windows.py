"""Means and medians of windows that slide over lines: the same bits wherever the lines begin.

Of values that are finite; NaN where a window has none. A sum that adds a line and subtracts another is not used: its
rounding would depend on where it began.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.levels.compiled import compiled_loop

__all__ = ["How", "compile_windows", "of_windows"]

How = Literal["median", "mean"]
Indices = NDArray[np.intp]


def of_windows(how: How, lines: NDArray[Any], starts: Indices, stops: Indices) -> NDArray[np.float64]:
    """The median or the mean of `lines[start:stop]` for each window; both are in increasing order.

    `lines` are (n, pixels) of float32 or float64. The median of an even number of values is the mean of the two in the
    middle.
    """
    found = np.empty((len(starts), lines.shape[1]))
    loop = compile_windows(how, lines.dtype)
    loop(np.ascontiguousarray(lines), starts.astype(np.int64), stops.astype(np.int64), found)
    return found


def compile_windows(how: How, dtype: np.dtype[Any]) -> Callable[..., None]:
    """The loop for lines of float32 or float64; it is compiled once in a process, which takes a second."""
    loop = _medians_loop if how == "median" else _means_loop
    return compiled_loop(loop, f"{dtype.name}:2", "int64:1", "int64:1", "float64:2")


def _means_loop(lines: Any, starts: Any, stops: Any, means: Any) -> None:
    """Of sums of 1, 2, 4, 8, ... lines each window is put together: log2 of its length, and always in the same way."""
    n_lines, n_pixels = lines.shape
    sums = np.zeros((n_lines, n_pixels))
    counts = np.zeros((n_lines + 1, n_pixels), np.int32)  # of values that are not missing, in all lines before
    for i in range(n_lines):
        for t in range(n_pixels):
            is_there = np.isfinite(lines[i, t])
            sums[i, t] = lines[i, t] if is_there else 0.0
            counts[i + 1, t] = counts[i, t] + is_there
    longest = 0
    for window in range(len(starts)):
        longest = max(longest, stops[window] - starts[window])
        means[window, :] = 0.0
    added = 1  # lines in each row of `sums`
    while added <= longest:
        for window in range(len(starts)):
            length = stops[window] - starts[window]
            if length & added:
                total, row = means[window], sums[starts[window] + (length & (added - 1))]
                for t in range(n_pixels):
                    total[t] += row[t]
        for i in range(n_lines - 2 * added + 1):
            row, other = sums[i], sums[i + added]
            for t in range(n_pixels):
                row[t] += other[t]
        added *= 2
    for window in range(len(starts)):
        total, after, before = means[window], counts[stops[window]], counts[starts[window]]
        for t in range(n_pixels):
            total[t] /= after[t] - before[t]  # NaN for 0 / 0


def _medians_loop(lines: Any, starts: Any, stops: Any, medians: Any) -> None:  # noqa: PLR0912 - compiled, so it is one
    """Each pixel's window is kept in order: one pass takes a line out and puts another in, for many pixels at once.

    What is missing, and the part of the longest window that a shorter one does not have, is infinity, behind all
    values.
    """
    n_pixels, longest = lines.shape[1], 0
    for window in range(len(starts)):
        longest = max(longest, stops[window] - starts[window])
    ordered = np.full((longest + 1, n_pixels), np.inf, lines.dtype)
    counts = np.zeros(n_pixels, np.int64)  # of values that are not missing
    old, new = np.empty(n_pixels, lines.dtype), np.empty(n_pixels, lines.dtype)
    begin = end = starts[0]
    for window in range(len(starts)):
        while begin < starts[window] or end < stops[window]:
            filled = end - begin
            old[:] = np.inf
            new[:] = np.inf
            if begin < starts[window]:
                for t in range(n_pixels):
                    if np.isfinite(lines[begin, t]):
                        old[t] = lines[begin, t]
                        counts[t] -= 1
                begin += 1
            if end < stops[window]:
                for t in range(n_pixels):
                    if np.isfinite(lines[end, t]):
                        new[t] = lines[end, t]
                        counts[t] += 1
                end += 1
            for k in range(max(filled, end - begin)):
                here, behind = ordered[k], ordered[k + 1]
                for t in range(n_pixels):
                    kept = here[t] if here[t] < old[t] else behind[t]
                    here[t] = kept if kept < new[t] else new[t]
                    new[t] = new[t] if kept < new[t] else kept
        for t in range(n_pixels):
            half, is_odd = counts[t] // 2, counts[t] % 2 == 1
            if counts[t] == 0:
                medians[window, t] = np.nan
            elif is_odd:
                medians[window, t] = ordered[half, t]
            else:
                medians[window, t] = 0.5 * np.float64(ordered[half - 1, t]) + 0.5 * np.float64(ordered[half, t])
